/** Shows its children to users who are logged in, and takes everybody else to the login. */

import { useEffect, type ReactNode } from 'react';
import type { BffError } from '../core/errors.js';
import { requireLogin } from '../core/login.js';
import { useAuth } from './useAuth.js';

export interface AuthGuardProps {
  children?: ReactNode;
  /** Shown while nobody knows yet, and on the way to the login. */
  loading?: ReactNode;
  /** Shown to who is not logged in, in place of the way to the login. */
  fallback?: ReactNode;
  /** Shown when it cannot be told who is logged in, or when logins do not help. */
  renderError?: (error: BffError, retry: () => void) => ReactNode;
}

export function AuthGuard({ children, loading = null, fallback, renderError = renderPlainError }: AuthGuardProps): ReactNode {
  const { isAuthenticated, isLoading, error, endedBy, login, reload } = useAuth();
  const isOut = !isAuthenticated && !isLoading && !error;
  // Who has just logged out does not want to log in, not in the other tabs either.
  const goesToLogin = isOut && fallback === undefined && endedBy !== 'logout';
  useEffect(() => {
    if (goesToLogin) requireLogin();
  }, [goesToLogin]);

  if (isAuthenticated) return children;
  if (isLoading || goesToLogin) return loading;
  if (error && (error.code === 'login_loop' || fallback === undefined))
    return renderError(error, error.code === 'login_loop' ? () => login() : () => void reload());
  return fallback ?? renderNotice('You are logged out.', 'Log in', () => login());
}

const renderPlainError = (error: BffError, retry: () => void): ReactNode =>
  renderNotice(`${error.message} (${error.code})`, error.code === 'login_loop' ? 'Log in again' : 'Try again', retry);

const renderNotice = (text: string, label: string, act: () => void): ReactNode => (
  <div role="alert">
    <p>{text}</p>
    <button type="button" onClick={act}>
      {label}
    </button>
  </div>
);
