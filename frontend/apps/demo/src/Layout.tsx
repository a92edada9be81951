/** What stands around every page: where to go, who is logged in, and the warning before a session ends. */

import { useAuth } from '@empowernow/bff-auth-react';
import { Button, HeaderNav, SessionExpiryDialog, Spinner, useToast, UserMenu } from '@empowernow/ui';
import { useState } from 'react';
import { Link, Outlet, useLocation, useNavigate } from 'react-router';
import { toBffError } from './toBffError.js';

const PAGES = [
  { href: '/forms', label: 'Forms' },
  { href: '/feed', label: 'Live feed' },
  { href: '/files', label: 'Files' },
  { href: '/sessions', label: 'Sessions' },
];

export function Layout() {
  const { pathname } = useLocation();
  const items = PAGES.map((page) => ({ ...page, isCurrent: pathname === page.href || pathname.startsWith(`${page.href}/`) }));
  return (
    <>
      <HeaderNav
        brand={<Link to="/">BFF demo</Link>}
        items={items}
        renderLink={({ href, label }, attributes) => (
          <Link to={href} {...attributes}>
            {label}
          </Link>
        )}
      >
        <Who />
      </HeaderNav>
      <main id="main" className="en-main" tabIndex={-1}>
        <Outlet />
      </main>
      <Expiry />
    </>
  );
}

function Who() {
  const { user, isLoading, login } = useAuth();
  const logOut = useLogOut();
  const navigate = useNavigate();
  if (isLoading) return <Spinner label="Asking who is logged in" />;
  if (!user) {
    return (
      <>
        <span className="en-muted">not logged in</span>
        <Button size="small" onClick={() => login({ returnTo: '/forms' })}>
          Log in
        </Button>
      </>
    );
  }
  return (
    <UserMenu
      name={typeof user.name === 'string' ? user.name : user.id}
      detail={typeof user.email === 'string' ? user.email : undefined}
      items={[
        { label: 'My sessions', onSelect: () => void navigate('/sessions') },
        { label: 'Log out', onSelect: logOut },
      ]}
    />
  );
}

/** A logout that the BFF did not take leaves the user logged in, so it has to be said. */
function useLogOut(): () => void {
  const { logout } = useAuth();
  const showToast = useToast();
  return () => {
    logout().catch((error: unknown) => showToast(`You are still logged in. ${toBffError(error).message}`, { kind: 'error' }));
  };
}

function Expiry() {
  const { isAuthenticated, isExpiring, expiresIn, canRenew, error, renew } = useAuth();
  const logOut = useLogOut();
  const [isAside, setIsAside] = useState(false);
  const [isBusy, setIsBusy] = useState(false);
  const stay = async () => {
    setIsBusy(true);
    await renew();
    setIsBusy(false);
  };
  return (
    <SessionExpiryDialog
      isOpen={isAuthenticated && isExpiring && !isAside}
      expiresIn={expiresIn}
      canRenew={canRenew}
      isBusy={isBusy}
      error={error?.message}
      onRenew={() => void stay()}
      onLogout={logOut}
      onDismiss={() => setIsAside(true)}
    />
  );
}
