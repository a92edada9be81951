/**
 * Keeps the session's state true while a page is open: asks now and then without counting as activity, more often
 * near the end, and whenever the page comes back from where time may have passed unseen.
 */

import { getRoot } from './addresses.js';
import { BffError } from './errors.js';
import {
  endSession,
  getSession,
  isAboutToExpire,
  loadSession,
  onSessionChange,
  secondsLeft,
  setExpiringSeconds,
  setSession,
  tellTime,
  type SessionState,
} from './session.js';
import { listenToTabs } from './tabs.js';

const NEAR_THE_END_SECONDS = 10;
const TICK_MS = 1000;

export interface WatchOptions {
  /** How often the BFF is asked whether the session still lives; 60 if not given, 0: only near its end. */
  pollSeconds?: number;
  /** How long before its end a session counts as about to expire; 120 if not given, at most half of its idle time. */
  expiringSeconds?: number;
  /** Called once each time that the session comes near its end. */
  onExpiring?: (session: SessionState) => void;
}

let watchers = 0;
let watchedRoot = '';
let stopWatching: () => void = () => undefined;

/** Starts to watch; returns how to stop. Several may watch, and the BFF is asked as often as for one. */
export function watchSession(options: WatchOptions = {}): () => void {
  if (watchers > 0 && watchedRoot !== getRoot())
    throw new BffError('base_url_conflict', `This page already watches the session at ${watchedRoot}.`);
  const stopTelling = onSessionChange(buildExpiryBell(options.onExpiring));
  setExpiringSeconds(options.expiringSeconds ?? 120);
  if (watchers++ === 0) {
    watchedRoot = getRoot();
    stopWatching = start(options.pollSeconds ?? 60);
  }
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    stopTelling();
    if (--watchers === 0) stopWatching();
  };
}

function buildExpiryBell(onExpiring: WatchOptions['onExpiring']): () => void {
  let wasExpiring = false;
  return () => {
    const session = getSession();
    const rings = session.isExpiring && !wasExpiring;
    wasExpiring = session.isExpiring;
    if (rings) onExpiring?.(session);
  };
}

function start(pollSeconds: number): () => void {
  let askedAt = performance.now();
  const look = (options?: { slide: boolean }) => {
    askedAt = performance.now();
    void loadSession(options);
  };
  const tick = () => {
    if (document.hidden) return;
    const { status, expiresIn, isExpiring } = getSession();
    if (status !== 'authenticated' && status !== 'unreachable') return;
    const isClose = status === 'authenticated' && isAboutToExpire();
    // The nearer the end, the more often; when it has passed and the BFF does not answer, ever less.
    const pause = isClose ? Math.min(NEAR_THE_END_SECONDS, Math.max(1, Math.abs(secondsLeft()) / 2)) : pollSeconds || Infinity;
    if (performance.now() - askedAt >= pause * 1000) look();
    // A countdown moves each second near the end, and seldom before.
    else if (isExpiring || expiresIn - secondsLeft() > 30) setSession(isExpiring ? tellTime() : { expiresIn: tellTime().expiresIn });
  };
  const onVisible = () => {
    if (!document.hidden) look();
  };
  const onPageShow = (event: PageTransitionEvent) => {
    if (!event.persisted) return;
    // The browser kept the page as it was, and anybody may sit before it now.
    setSession({ status: 'loading' });
    look();
  };
  const stopListening = listenToTabs((message) => {
    const { status, user } = getSession();
    if (message.kind === 'logout') endSession('logout', { isOwn: false });
    else if (message.kind === 'login' ? user?.id !== message.userId : status === 'authenticated') look();
  });
  const timer = setInterval(tick, TICK_MS);
  const listening = new AbortController();
  const { signal } = listening;
  document.addEventListener('visibilitychange', onVisible, { signal });
  window.addEventListener('online', onVisible, { signal });
  window.addEventListener('pageshow', onPageShow, { signal });
  look({ slide: true });
  return () => {
    clearInterval(timer);
    stopListening();
    listening.abort();
  };
}
