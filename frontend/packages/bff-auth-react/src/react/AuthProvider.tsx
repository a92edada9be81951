/** Puts a page under the session of the BFF. */

import { createContext, useContext, useEffect, useRef, useState, type ReactNode } from 'react';
import { setBaseUrl } from '../core/addresses.js';
import { setAutomaticLogin } from '../core/login.js';
import type { SessionState } from '../core/session.js';
import { watchSession } from '../core/watch.js';

export interface AuthProviderProps {
  /** `/api` on the same origin, else the BFF's address: `import.meta.env.VITE_BFF_BASE_URL`. Not given: as `setBaseUrl` said. */
  baseUrl?: string | undefined;
  /** How often the BFF is asked whether the session still lives; 60 if not given, 0: only near its end. */
  pollSeconds?: number;
  /** How long before its end the session counts as about to expire; 120 if not given. */
  expiringSeconds?: number;
  /** Called once each time that the session comes near its end. */
  onExpiring?: (session: SessionState) => void;
  /** False: a call that needs a login only fails, and the page shows what it likes. */
  automaticLogin?: boolean;
  children?: ReactNode;
}

const ProviderContext = createContext(false);

export function AuthProvider({
  baseUrl,
  pollSeconds = 60,
  expiringSeconds = 120,
  onExpiring,
  automaticLogin = true,
  children,
}: AuthProviderProps): ReactNode {
  // Before the first effect of any child may make a call.
  useState(() => baseUrl === undefined || setBaseUrl(baseUrl));
  const latestOnExpiring = useRef(onExpiring);
  useEffect(() => {
    latestOnExpiring.current = onExpiring;
    setAutomaticLogin(automaticLogin);
  });
  useEffect(() => {
    if (baseUrl !== undefined) setBaseUrl(baseUrl);
    return watchSession({
      pollSeconds,
      expiringSeconds,
      onExpiring: (session) => latestOnExpiring.current?.(session),
    });
  }, [baseUrl, pollSeconds, expiringSeconds]);
  return <ProviderContext.Provider value>{children}</ProviderContext.Provider>;
}

export function useProvider(): void {
  if (!useContext(ProviderContext)) throw new Error('There is no <AuthProvider> above this component.');
}
