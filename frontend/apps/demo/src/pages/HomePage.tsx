/** The start page, for everybody. */

import { apiClient, useAuth } from '@empowernow/bff-auth-react';
import { Button, GlassCard, LoginPanel } from '@empowernow/ui';
import { useState } from 'react';
import { Link } from 'react-router';
import { ErrorNotice, Waiting } from '../notices.js';
import { toBffError } from '../toBffError.js';

export function HomePage() {
  const { user, isLoading, error, endedBy, login } = useAuth();
  if (isLoading) return <Waiting />;
  if (!user) {
    return (
      <LoginPanel
        title="One cookie, no token"
        label="Log in to see the forms"
        error={error?.message}
        onLogin={() => login({ returnTo: '/forms' })}
      >
        {endedBy === 'logout' && <p role="status">You are logged out.</p>}
        <p>
          Log in as <b>alice</b> or <b>carol</b>, who edit forms and delete their own, or as <b>bob</b> or any other name, who
          only reads. Any password does.
        </p>
      </LoginPanel>
    );
  }
  return (
    <>
      {error && <ErrorNotice error={error} />}
      <GlassCard title="One cookie, no token" headingLevel={1}>
        <p>
          This application never sees a token. It calls <code>/api/…</code> with a cookie that its scripts cannot read; the BFF
          knows who that is, asks a decision point, and calls the backend with a token of its own.
        </p>
        <Link className="en-button en-button--primary" to="/forms">
          To the forms
        </Link>
      </GlassCard>
      <Backend />
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
    <GlassCard title="What the backend sees">
      <p>Headers that the BFF adds, and what the token is for. The token itself is not shown, and never came here.</p>
      <div className="en-actions">
        <Button variant="secondary" onClick={() => ask('/api/crud/whoami')}>
          With the service’s token
        </Button>
        <Button variant="secondary" onClick={() => ask('/api/profile/whoami')}>
          With the user’s token
        </Button>
      </div>
      {error !== null && <ErrorNotice error={toBffError(error)} />}
      {/* Scrollable regions have to be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      {seen !== null && <pre tabIndex={0}>{JSON.stringify(seen, null, 2)}</pre>}
    </GlassCard>
  );
}
