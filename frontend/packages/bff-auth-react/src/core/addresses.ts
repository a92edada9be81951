/** Where the BFF is, and which address a path means there. */

import { BffError } from './errors.js';

/** What lies beside `/api` at the BFF. */
const ROOT_PATH = /^\/(api|auth|access|health|\.well-known)(?=[/?#]|$)/;
const REPEATED_API = /^(\/api)+(?=[/?#]|$)/;
const ABSOLUTE = /^([a-z][a-z\d+.-]*:|[/\\]{2})/i;

let baseUrl = '/api';

/**
 * Says where the BFF is: `/api` on the same origin, else its address, such as `http://localhost:8000/api`. The `/api`
 * at the end may be left out. Nothing given means `/api`.
 */
export function setBaseUrl(address: string | undefined): void {
  const before = baseUrl;
  baseUrl = address || '/api';
  try {
    getRoot();
  } catch (error) {
    baseUrl = before;
    throw error;
  }
}

/** The BFF's address without `/api` and without a slash at the end. */
export function getRoot(): string {
  // Where there is no page, as on a server that renders, only absolute addresses can be used.
  const page = globalThis.location as Location | undefined;
  const address = parseUrl(baseUrl, page?.href);
  if (!address) throw new BffError('base_url_invalid', `The address of the BFF cannot be used: ${baseUrl}`);
  return address.origin + address.pathname.replace(/(\/api)*\/*$/, '');
}

/** Parses what may become an address to call or to go to; null for anything but http. */
export function parseUrl(address: unknown, base?: string): URL | null {
  try {
    const url = new URL(String(address), base);
    return /^https?:$/.test(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/**
 * Returns the address at the BFF that a path means: `forms`, `/forms`, `/api/forms` and `/api/api/forms` are the same.
 * An absolute address stays as it is.
 */
export function resolveAddress(path: string): string {
  const root = getRoot();
  if (ABSOLUTE.test(path)) {
    const address = new URL(path, root).href;
    return isAtBff(address) ? root + address.slice(root.length).replace(REPEATED_API, '/api') : address;
  }
  const absolute = path.startsWith('/') ? path : `/${path}`;
  return new URL(root + (ROOT_PATH.test(absolute) ? absolute : `/api${absolute}`).replace(REPEATED_API, '/api')).href;
}

/** Tells whether an absolute address is the BFF's: only such a call may carry the session and the CSRF token. */
export function isAtBff(address: string): boolean {
  return address.startsWith(`${getRoot()}/`);
}

/** As `resolveAddress`, for what is never sent elsewhere; throws `bad_request` for another site's address. */
export function resolveOwnAddress(path: string): string {
  const address = resolveAddress(path);
  if (!isAtBff(address)) throw new BffError('bad_request', 'This address is not at the BFF.');
  return address;
}

/**
 * Returns where a login or a logout may lead back to, as an absolute address; throws `unsafe_return_to` for one that
 * is not on this page's origin.
 */
export function checkReturnTo(returnTo = location.href): string {
  const address = parseUrl(returnTo, location.href);
  if (address?.origin !== location.origin)
    throw new BffError('unsafe_return_to', 'The return address is not on this site.');
  // The BFF takes 2048 characters; a long search is not worth a failed login.
  return [address.href, address.origin + address.pathname].find((href) => href.length <= 2048) ?? `${address.origin}/`;
}

/** Writes a checked return address for the BFF: as a path where both share an origin, for its edge may go by other names. */
export const writeReturnTo = (checked: string, bffOrigin: string): string =>
  bffOrigin === location.origin ? checked.slice(bffOrigin.length) : checked;

/** Returns the path that a `?returnUrl=` from the address bar may lead to, or `fallback` if it is not one of ours. */
export function findReturnPath(returnTo: string | null | undefined, fallback = '/'): string {
  try {
    const { pathname, search, hash } = new URL(checkReturnTo(returnTo || fallback));
    return pathname + search + hash;
  } catch {
    return fallback;
  }
}
