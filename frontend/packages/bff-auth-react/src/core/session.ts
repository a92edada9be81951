/**
 * Who is logged in, as the BFF tells it. One state for the page, whoever asks; React is one of its readers.
 *
 * Times are counted from the moment the answer was asked for, on a clock that nobody sets (`performance.now`): what
 * the clocks of browser and server show never matters. A failure of the BFF is not a logout: what was known stays.
 * The CSRF token stays in this module, so that no state that is shown or logged holds it.
 */

import { getRoot } from './addresses.js';
import { withDeadline } from './deadline.js';
import { BffError, getBffCode, isRecord, readError, toBffError } from './errors.js';
import { tellTabs } from './tabs.js';

const ANSWER_SECONDS = 10;

/** What the BFF tells of the user: the id and the claims that its `session.user_claims` names. */
export interface User {
  id: string;
  name?: string;
  email?: string;
  roles?: string[];
  permissions?: string[];
  [claim: string]: unknown;
}

export interface SessionState {
  /** `unreachable`: the BFF has not yet said who is logged in; `error` tells why. */
  status: 'loading' | 'authenticated' | 'anonymous' | 'unreachable';
  user: User | null;
  /** Seconds until the session ends if nothing more is heard of it; 0 without a session. */
  expiresIn: number;
  isExpiring: boolean;
  /** False when the session's longest life is what ends it: only a new login helps then. */
  canRenew: boolean;
  /** How a session that this page has seen came to its end. */
  endedBy: 'logout' | 'expiry' | null;
  error: BffError | null;
}

const NOBODY = { user: null, expiresIn: 0, isExpiring: false, canRenew: false } as const;

let state: SessionState = { ...NOBODY, status: 'loading', endedBy: null, error: null };
let csrfToken = '';
let loginUrl = '';
let endsAt = 0;
let longestIdle = 0;
let expiringSeconds = 120;
/** Grows when the session is ended here: an answer that was asked for before says nothing about now. */
let era = 0;
let loading: Promise<SessionState> | null = null;
const listeners = new Set<() => void>();

export const getSession = (): SessionState => state;
export const getCsrfToken = (): string => csrfToken;
export const setExpiringSeconds = (seconds: number): void => void (expiringSeconds = seconds);

/** Where the BFF said that a login begins. */
export const getLoginUrl = (): string => loginUrl || `${getRoot()}/auth/login`;

/** Calls back after every change; returns how to stop. */
export function onSessionChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

export function setSession(change: Partial<SessionState>): SessionState {
  state = { ...state, ...change };
  for (const listener of [...listeners]) listener();
  return state;
}

/** Asks who is logged in; never fails, see `error`. Whoever asks while another asks gets the same answer. */
export function loadSession(options: { slide?: boolean } = {}): Promise<SessionState> {
  return (loading ??= ask('GET', `/api/auth/session${options.slide ? '' : '?slide=false'}`).finally(() => {
    loading = null;
  }));
}

/** Keeps the session alive and renews what the BFF holds for it; never fails, see `error`. */
export async function renewSession(): Promise<SessionState> {
  if (!csrfToken) return loadSession({ slide: true });
  const renewed = await ask('POST', '/api/auth/session/refresh');
  // A login in another tab has made this page's CSRF token one of an earlier session.
  return renewed.error?.code === 'csrf_failed' ? loadSession({ slide: true }) : renewed;
}

async function ask(method: string, path: string): Promise<SessionState> {
  const askedAt = performance.now();
  const askedIn = era;
  let judge: () => SessionState;
  try {
    const { response, body } = await withDeadline(ANSWER_SECONDS, null, (signal) => fetchJson(method, path, signal));
    judge = () => judgeAnswer(response, body, askedAt);
  } catch (error) {
    judge = () => fail(toBffError(error));
  }
  return askedIn === era ? judge() : state;
}

async function fetchJson(method: string, path: string, signal: AbortSignal) {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-CSRF-Token'] = csrfToken;
  const response = await fetch(getRoot() + path, { method, headers, signal, credentials: 'include', cache: 'no-store' });
  if (!response.ok && !(response.status === 401 && getBffCode(response))) throw await readError(response);
  const body: unknown = await response.json().catch(() => null);
  return { response, body: isRecord(body) ? body : {} };
}

function judgeAnswer(response: Response, body: Record<string, unknown>, askedAt: number): SessionState {
  if (response.status === 401) {
    loginUrl = typeof body.login_url === 'string' ? body.login_url : '';
    return endSession('expiry');
  }
  const { user, expires_in: idle, absolute_expires_in: rest, csrf_token: token } = body;
  if (!isUser(user) || typeof idle !== 'number' || typeof rest !== 'number' || typeof token !== 'string')
    return fail(new BffError('unexpected_answer', 'This is not the answer of a BFF.', { status: response.status }));
  csrfToken = token;
  endsAt = askedAt + Math.min(idle, rest) * 1000;
  longestIdle = Math.max(longestIdle, idle);
  const isNew = state.user?.id !== user.id;
  setSession({ status: 'authenticated', user, endedBy: null, error: null, canRenew: rest > idle, ...tellTime() });
  if (isNew) tellTabs({ kind: 'login', userId: user.id });
  return state;
}

const isUser = (value: unknown): value is User => isRecord(value) && typeof value.id === 'string';

/** A fault of the BFF or of the line: whoever was logged in still is. */
function fail(error: BffError): SessionState {
  if (state.status === 'authenticated') return setSession({ error, ...tellTime() });
  return setSession({ error, status: state.status === 'anonymous' ? 'anonymous' : 'unreachable' });
}

/** Takes note that there is no session any more. */
export function endSession(how: 'logout' | 'expiry', options: { isOwn?: boolean } = {}): SessionState {
  const hadUser = state.user !== null;
  csrfToken = '';
  era += 1;
  loading = null;
  setSession({ ...NOBODY, status: 'anonymous', error: null, endedBy: hadUser ? how : state.endedBy });
  if (hadUser && options.isOwn !== false) tellTabs({ kind: how });
  return state;
}

/** Seconds to the end by this page's clock; below 0 it is over unless another tab has kept it alive. */
export const secondsLeft = (): number => (endsAt - performance.now()) / 1000;

export const isAboutToExpire = (): boolean => secondsLeft() <= Math.min(expiringSeconds, longestIdle / 2);

export const tellTime = () => ({
  expiresIn: Math.max(0, Math.ceil(secondsLeft())),
  isExpiring: isAboutToExpire(),
});
