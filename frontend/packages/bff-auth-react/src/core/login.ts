/** The ways in and out. Both are navigations: the BFF leads to the identity provider and back. */

import { checkReturnTo, getRoot, parseUrl, writeReturnTo } from './addresses.js';
import { BffError } from './errors.js';
import { getLoginUrl, setSession } from './session.js';

const AUTOMATIC_LOGIN_EVERY_MS = 60_000;
const LEAVING_MS = 5_000;
/** In the session storage, so that it outlives the way to the identity provider and back. Holds a time. */
const LAST_LOGIN_KEY = 'bff:automatic-login-at';

export interface LoginOptions {
  /** Where to come back to, on this site; this page if not given. */
  returnTo?: string;
  /** For the identity provider, as far as the BFF's `oidc.login_parameters` lets them through. */
  parameters?: Partial<Record<'prompt' | 'login_hint' | 'ui_locales' | 'acr_values' | 'max_age', string>>;
}

let isAutomatic = true;
let leftAt = -Infinity;

/** Leaves the page. On its own so that tests can see where to. */
export const browser = { goTo: (address: string): void => location.assign(address) };

/** Whether a call that needs a login starts one; true unless set. */
export const setAutomaticLogin = (on: boolean): void => void (isAutomatic = on);

/** Goes to the login because the user asked for it. Throws `unsafe_return_to` when the return path is not ours. */
export function login(options: LoginOptions = {}): void {
  goToLogin(getLoginUrl(), options);
}

/**
 * Goes to the login because a call needs one: at most once a minute, for a login that does not help would go on
 * for ever. `loginUrl` is what the refusal said, which may ask for a stronger login.
 */
export function requireLogin(loginUrl?: unknown): void {
  if (!isAutomatic || performance.now() - leftAt < LEAVING_MS) return;
  if (!claimAutomaticLogin()) {
    setSession({
      error: new BffError(
        'login_loop',
        'The login did not help. Does your browser refuse the cookies of this site?',
      ),
    });
    return;
  }
  goToLogin(typeof loginUrl === 'string' ? loginUrl : getLoginUrl(), {});
}

function claimAutomaticLogin(): boolean {
  try {
    const elapsed = Date.now() - Number(sessionStorage.getItem(LAST_LOGIN_KEY) ?? NaN);
    if (elapsed >= 0 && elapsed < AUTOMATIC_LOGIN_EVERY_MS) return false;
    sessionStorage.setItem(LAST_LOGIN_KEY, String(Date.now()));
    return true;
  } catch {
    return false; // no storage: nobody could tell a loop, and the cookie is likely to be refused as well
  }
}

/** After a logout the next login is no sign of a loop. */
export function forgetAutomaticLogin(): void {
  try {
    sessionStorage.removeItem(LAST_LOGIN_KEY);
  } catch {
    // no storage, no automatic login
  }
}

function goToLogin(loginUrl: string, options: LoginOptions): void {
  const returnTo = checkReturnTo(options.returnTo);
  const address = parseUrl(loginUrl, getRoot());
  if (!address) throw new BffError('unexpected_answer', 'The address of the login cannot be used.');
  const parameters = { ...options.parameters, return_to: writeReturnTo(returnTo, address.origin) };
  for (const [name, value] of Object.entries(parameters)) address.searchParams.set(name, value);
  leave(address.href);
}

/** Leaves because the session is over; nothing that is still under way starts a login then. */
export function leave(address: string): void {
  leftAt = performance.now();
  browser.goTo(address);
}
