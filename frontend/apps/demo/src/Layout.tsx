/** What stands around every page: where to go, who is logged in, and the warning before a session ends. */

import { useAuth } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useState } from 'react';
import { NavLink, Outlet } from 'react-router';
import { ExpiryDialog } from './ExpiryDialog.js';
import { ErrorNotice } from './notices.js';
import { toBffError } from './toBffError.js';

const PAGES = [
  ['/forms', 'Forms'],
  ['/feed', 'Live feed'],
  ['/files', 'Files'],
  ['/sessions', 'Sessions'],
] as const;

export function Layout() {
  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="top">
        <NavLink to="/" className="brand">
          BFF demo
        </NavLink>
        <nav aria-label="Pages">
          {PAGES.map(([path, name]) => (
            <NavLink key={path} to={path}>
              {name}
            </NavLink>
          ))}
        </nav>
        <Who />
      </header>
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      <ExpiryDialog />
    </>
  );
}

function Who() {
  const { user, isLoading, login, logout } = useAuth();
  const [error, setError] = useState<unknown>(null);
  if (isLoading) return <p className="who">…</p>;
  if (!user) {
    return (
      <p className="who">
        <span data-testid="user">not logged in</span>
        <Button onClick={() => login({ returnTo: '/forms' })}>Log in</Button>
      </p>
    );
  }
  return (
    <div className="who">
      <span data-testid="user">{typeof user.name === 'string' ? user.name : user.id}</span>
      <Button className="quiet" onClick={() => void logout().catch(setError)}>
        Log out
      </Button>
      {error !== null && <ErrorNotice error={toBffError(error)} />}
    </div>
  );
}
