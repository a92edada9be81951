/** The start page, for everybody. */

import { apiClient, useAuth } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useState } from 'react';
import { Link } from 'react-router';
import { ErrorNotice } from '../notices.js';
import { toBffError } from '../toBffError.js';

export function HomePage() {
  const { user, error, endedBy, login } = useAuth();
  return (
    <>
      <h1>One cookie, no token</h1>
      {error && <ErrorNotice error={error} />}
      {endedBy === 'logout' && !user && <p role="status">You are logged out.</p>}
      <section className="card">
        <p>
          This application never sees a token. It calls <code>/api/…</code> with a cookie that its scripts cannot read; the BFF
          knows who that is, asks a decision point, and calls the backend with a token of its own.
        </p>
        {user ? (
          <p>
            <Link to="/forms">To the forms</Link>
          </p>
        ) : (
          <>
            <p>
              Log in as <b>alice</b> or <b>carol</b>, who edit forms and delete their own, or as <b>bob</b> or any other name,
              who only reads. Any password does.
            </p>
            <Button onClick={() => login({ returnTo: '/forms' })}>Log in to see the forms</Button>
          </>
        )}
      </section>
      {user && <Backend />}
    </>
  );
}

function Backend() {
  const [seen, setSeen] = useState<unknown>(null);
  const [error, setError] = useState<unknown>(null);
  const ask = (path: string) => {
    setError(null);
    apiClient.get(path).then(setSeen, setError);
  };
  return (
    <section className="card" aria-labelledby="backend">
      <h2 id="backend">What the backend sees</h2>
      <p>Headers that the BFF adds, and what the token is for. The token itself is not shown, and never came here.</p>
      <p className="actions">
        <Button onClick={() => ask('/api/crud/whoami')}>With the service’s token</Button>
        <Button onClick={() => ask('/api/profile/whoami')}>With the user’s token</Button>
      </p>
      {error !== null && <ErrorNotice error={toBffError(error)} />}
      {/* Scrollable regions have to be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      {seen !== null && <pre tabIndex={0}>{JSON.stringify(seen, null, 2)}</pre>}
    </section>
  );
}
