/** The session, for components. */

import { useSyncExternalStore } from 'react';
import type { BffError } from '../core/errors.js';
import { login, type LoginOptions } from '../core/login.js';
import { logout } from '../core/logout.js';
import { getSession, loadSession, onSessionChange, renewSession, type SessionState, type User } from '../core/session.js';
import { useProvider } from './AuthProvider.js';

export interface Auth {
  user: User | null;
  isAuthenticated: boolean;
  isLoading: boolean;
  /** Why the session is not known, or why an automatic login was not tried again. */
  error: BffError | null;
  /** Seconds until the session ends if nothing more is heard of it; 0 without a session. */
  expiresIn: number;
  isExpiring: boolean;
  /** False when only a new login helps. */
  canRenew: boolean;
  /** How a session that this page has seen came to its end. */
  endedBy: SessionState['endedBy'];
  login: (options?: LoginOptions) => void;
  /** Fails with a `BffError` when the user could not be logged out. */
  logout: (options?: { returnTo?: string }) => Promise<void>;
  /** Keeps the session alive. */
  renew: () => Promise<SessionState>;
  /** Asks again who is logged in. */
  reload: () => Promise<SessionState>;
}

const reload = () => loadSession({ slide: true });

export function useSession(): SessionState {
  useProvider();
  return useSyncExternalStore(onSessionChange, getSession, getSession);
}

export function useAuth(): Auth {
  const { status, user, error, expiresIn, isExpiring, canRenew, endedBy } = useSession();
  return {
    user,
    isAuthenticated: status === 'authenticated',
    isLoading: status === 'loading',
    error,
    expiresIn,
    isExpiring,
    canRenew,
    endedBy,
    login,
    logout,
    renew: renewSession,
    reload,
  };
}
