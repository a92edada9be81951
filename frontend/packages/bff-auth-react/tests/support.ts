/** A BFF in memory behind `fetch`: it has a session or none, CSRF tokens go stale, and it counts what it is asked. */

import { vi } from 'vitest';

export interface Call {
  method: string;
  url: string;
  headers: Headers;
  body: BodyInit | null | undefined;
  credentials: string | undefined;
}

type Answer = (call: Call, signal: AbortSignal | null | undefined) => Response | Promise<Response>;

export const json = (body: unknown, init: { status?: number; headers?: Record<string, string> } = {}): Response =>
  new Response(JSON.stringify(body), { ...init, headers: { 'Content-Type': 'application/json', ...init.headers } });

export const refusal = (status: number, code: string, members: object = {}): Response =>
  json(
    { title: 'Refused.', detail: `Refused: ${code}.`, status, code, request_id: 'r-1', ...members },
    { status, headers: { 'Content-Type': 'application/problem+json', 'X-BFF-Error': code, 'X-Correlation-ID': 'r-1' } },
  );

export class FakeBff {
  calls: Call[] = [];
  user: { id: string; [claim: string]: unknown } | null = { id: 'alice', name: 'Alice' };
  csrfToken = 'csrf-1';
  expiresIn = 1800;
  absoluteExpiresIn = 28800;
  loginUrl = 'https://app.example.com/auth/login';
  /** What a path answers, by `METHOD path`; the session endpoints are there already. */
  routes = new Map<string, Answer>();

  constructor() {
    const session = () => this.tellSession();
    this.on('GET /api/auth/session', session);
    this.on('POST /api/auth/session/refresh', session);
    vi.stubGlobal('fetch', (input: string | URL | Request, init?: RequestInit) => this.answer(input, init));
  }

  on(route: string, answer: Answer): void {
    this.routes.set(route, answer);
  }

  tellSession(): Response {
    if (!this.user) return refusal(401, 'not_authenticated', { authenticated: false, login_url: this.loginUrl });
    return json({
      authenticated: true,
      user: this.user,
      expires_in: this.expiresIn,
      absolute_expires_in: this.absoluteExpiresIn,
      csrf_token: this.csrfToken,
    });
  }

  /** The calls to a path, newest last. */
  callsTo(path: string): Call[] {
    return this.calls.filter((call) => new URL(call.url, location.href).pathname === path);
  }

  private async answer(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const url = input instanceof Request ? input.url : String(input);
    const call: Call = {
      method: init.method ?? 'GET',
      url,
      headers: new Headers(init.headers),
      body: init.body,
      credentials: init.credentials,
    };
    this.calls.push(call);
    const route = this.routes.get(`${call.method} ${new URL(url, location.href).pathname}`);
    if (!route) return refusal(404, 'route_not_found');
    const isUnsafe = /^(POST|PUT|PATCH|DELETE)$/.test(call.method);
    if (isUnsafe && this.user && call.headers.get('X-CSRF-Token') !== this.csrfToken) return refusal(403, 'csrf_failed');
    const { signal } = init;
    return Promise.race([
      route(call, signal),
      new Promise<never>((_, reject) => {
        const abort = () => reject(new DOMException('aborted', 'AbortError'));
        if (signal?.aborted) abort();
        signal?.addEventListener('abort', abort);
      }),
    ]);
  }
}

/** A protected route: 401 without a session, else the answer. */
export const guarded =
  (bff: FakeBff, answer: Answer): Answer =>
  (call, signal) =>
    bff.user ? answer(call, signal) : refusal(401, 'session_expired', { login_url: bff.loginUrl });

/** Loads the SDK anew, as another page load would. */
export async function loadCore() {
  vi.resetModules();
  const core = await import('../src/core/index.js');
  const { browser } = await import('../src/core/login.js');
  const goTo = vi.spyOn(browser, 'goTo').mockImplementation(() => undefined);
  return { ...core, goTo };
}
