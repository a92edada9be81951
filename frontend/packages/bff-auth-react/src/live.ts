/** Connections that stay open. Neither kind tells a script why it was refused, so the session is asked about it. */

import { resolveAddress } from './core/addresses.js';
import { BffError } from './core/errors.js';
import { requireLogin } from './core/login.js';
import { loadSession } from './core/session.js';

const LONGEST_PAUSE_SECONDS = 30;

export type LiveStatus = 'connecting' | 'open' | 'reconnecting' | 'closed';

export interface EventSourceOptions {
  /** Every event of the kinds below, plain messages included. */
  onEvent: (event: MessageEvent<string>) => void;
  /** The named kinds (`event:` lines) to hear beside plain messages. */
  events?: readonly string[];
  /** After `reconnecting`, an `open` means that events may have been missed: load anew what they are about. */
  onStatus?: (status: LiveStatus) => void;
  /** When the connection cannot be had, with every attempt; it is tried again unless a login is needed. */
  onError?: (error: BffError) => void;
}

/** Opens a stream of server-sent events and keeps it open until it is closed. Returns how to close it. */
export function createEventSource(path: string, options: EventSourceOptions): { close: () => void } {
  const address = resolveAddress(path);
  let source: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let isClosed = false;

  const close = () => {
    if (isClosed) return;
    isClosed = true;
    clearTimeout(timer);
    source?.close();
    options.onStatus?.('closed');
  };
  const open = () => {
    const opened = (source = new EventSource(address, { withCredentials: true }));
    for (const kind of ['message', ...(options.events ?? [])]) {
      opened.addEventListener(kind, (event) => options.onEvent(event as MessageEvent<string>));
    }
    opened.onopen = () => {
      failures = 0;
      options.onStatus?.('open');
    };
    opened.onerror = () => {
      if (isClosed) return;
      options.onStatus?.('reconnecting');
      // The browser connects again by itself after a cut, but never after a refusal.
      if (opened.readyState === EventSource.CLOSED) void retry();
    };
  };
  const retry = async () => {
    const session = await loadSession();
    if (isClosed) return;
    const isOut = session.status === 'anonymous' && !session.error;
    options.onError?.(
      isOut
        ? new BffError('session_expired', 'You are not logged in.', { status: 401 })
        : (session.error ?? new BffError('http_error', 'The stream of events was refused.')),
    );
    if (isOut) {
      close();
      requireLogin();
      return;
    }
    timer = setTimeout(open, Math.min(LONGEST_PAUSE_SECONDS, 2 ** failures++) * 1000 * (0.5 + Math.random() / 2));
  };

  options.onStatus?.('connecting');
  open();
  return { close };
}

/** Opens a WebSocket at the BFF. It is the browser's own; one that was never opened leads to the login if need be. */
export function createWebSocket(path: string, protocols?: string | string[]): WebSocket {
  const socket = new WebSocket(resolveAddress(path).replace(/^http/, 'ws'), protocols);
  let wasOpen = false;
  socket.addEventListener('open', () => (wasOpen = true));
  socket.addEventListener('close', () => {
    if (wasOpen) return;
    void loadSession().then((session) => {
      if (session.status === 'anonymous' && !session.error) requireLogin();
    });
  });
  return socket;
}
