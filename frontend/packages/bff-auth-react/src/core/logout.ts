/** The way out. */

import { checkReturnTo, getRoot, parseUrl, writeReturnTo } from './addresses.js';
import { apiClient } from './api.js';
import { forgetAutomaticLogin, leave } from './login.js';
import { endSession, getSession } from './session.js';

/**
 * Ends the session here, in the other tabs and at the identity provider, and leaves the page.
 *
 * Fails with a `BffError` when the BFF did not take the logout: the user is still logged in then, and has to be told.
 */
export async function logout(options: { returnTo?: string } = {}): Promise<void> {
  const returnTo = checkReturnTo(options.returnTo ?? '/');
  const bffOrigin = new URL(getRoot()).origin;
  let logoutUrl: string | null | undefined;
  try {
    const body = { return_to: writeReturnTo(returnTo, bffOrigin) };
    logoutUrl = (await apiClient.post<{ logout_url: string | null } | undefined>('/auth/logout', body))?.logout_url;
  } catch (error) {
    const { status, error: fault } = getSession();
    if (status !== 'anonymous' || fault) throw error; // else it was over before
  }
  endSession('logout');
  forgetAutomaticLogin();
  leave((logoutUrl && parseUrl(logoutUrl, bffOrigin)?.href) || returnTo);
}
