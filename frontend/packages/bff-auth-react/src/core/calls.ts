/** The way of a call through the BFF: cookie and CSRF token with it, one silent second try, and what a 401 means. */

import { isAtBff, resolveAddress } from './addresses.js';
import { getBffCode, isJson } from './errors.js';
import { requireLogin } from './login.js';
import { getCsrfToken, getSession, loadSession } from './session.js';

const SAFE_METHODS = /^(GET|HEAD|OPTIONS)$/;

/** Sends the request once, with this CSRF token; empty: none. */
export type Send = (csrfToken: string) => Promise<Response>;

/**
 * A drop-in `fetch` for calls to the BFF: `path` is `/crud/forms` or `/api/crud/forms`, the answer is the `Response`
 * whatever its status, and failures are those of `fetch`. Calls to other places go there unchanged.
 *
 * A 401 of the BFF leads to the login, unless the session turns out to be alive: then the call is made again, once.
 */
export async function fetchWithAuth(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  const address = resolveAddress(findPath(input));
  if (!isAtBff(address)) return fetch(input, init);
  const request = input instanceof Request ? await readRequest(input) : {};
  const sent = { ...request, ...init };
  const method = (sent.method ?? 'GET').toUpperCase();
  return callWithSession(method, !(sent.body instanceof ReadableStream), (csrfToken) => {
    const headers = new Headers(sent.headers);
    if (csrfToken) headers.set('X-CSRF-Token', csrfToken);
    return fetch(address, { ...sent, method, headers, credentials: 'include' });
  });
}

function findPath(input: string | URL | Request): string {
  if (!(input instanceof Request)) return String(input);
  // A request knows its path by the page's origin, wherever the BFF is.
  return input.url.startsWith(`${location.origin}/`) ? input.url.slice(location.origin.length) : input.url;
}

/** Takes a request apart, its body read, so that it can be sent elsewhere and twice. */
async function readRequest(request: Request): Promise<RequestInit> {
  const { method, headers, signal, cache, redirect, keepalive } = request;
  const body = request.body && (await request.blob());
  return { method, headers, signal, cache, redirect, keepalive, ...(body && { body }) };
}

/**
 * Makes a call, if need be a second time: after `csrf_failed` when there is a newer token, after a 401 when there is
 * a session after all (a login in another tab changes both).
 */
export async function callWithSession(method: string, canRepeat: boolean, send: Send): Promise<Response> {
  const isUnsafe = !SAFE_METHODS.test(method);
  if (isUnsafe && !getCsrfToken()) await loadSession();
  const csrfToken = isUnsafe ? getCsrfToken() : '';
  let response = await send(csrfToken);
  if (await isWorthRepeating(response, isUnsafe, csrfToken)) {
    if (!canRepeat) return response;
    response = await send(isUnsafe ? getCsrfToken() : '');
  }
  const code = response.status === 401 && getBffCode(response);
  // `token_invalid` is about a bearer token that the page itself has sent: no login mends that.
  if (code && code !== 'token_invalid') requireLogin(await findLoginUrl(response));
  return response;
}

async function isWorthRepeating(response: Response, isUnsafe: boolean, csrfToken: string): Promise<boolean> {
  const code = getBffCode(response);
  if (code === 'not_authenticated' || code === 'session_expired') await loadSession();
  else if (code === 'csrf_failed' && isUnsafe) {
    await loadSession();
    if (getCsrfToken() === csrfToken) return false;
  } else return false;
  return getSession().status === 'authenticated' && getSession().error === null;
}

async function findLoginUrl(response: Response): Promise<unknown> {
  if (!isJson(response)) return undefined;
  const body: unknown = await response.clone().json().catch(() => null);
  return (body as { login_url?: unknown } | null)?.login_url;
}
