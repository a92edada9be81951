/** What the tabs of one browser tell each other: that somebody logged in or out. Never more than a user's id. */

import { getRoot } from './addresses.js';

export type TabMessage = { kind: 'login'; userId: string } | { kind: 'logout' | 'expiry' };

let channel: BroadcastChannel | null = null;

/** Opens the line to the other tabs, where the browser has one; returns how to close it. */
export function listenToTabs(listener: (message: TabMessage) => void): () => void {
  if (typeof BroadcastChannel === 'undefined') return () => undefined;
  // One name for each BFF: a page may hold the sessions of two.
  const opened = new BroadcastChannel(`bff:${getRoot()}`);
  opened.onmessage = (event: MessageEvent<TabMessage>) => listener(event.data);
  channel = opened;
  return () => {
    opened.close();
    if (channel === opened) channel = null;
  };
}

export const tellTabs = (message: TabMessage): void => channel?.postMessage(message);
