/** Calls that speak JSON and fail with a `BffError`, whatever goes wrong. */

import { resolveOwnAddress } from './addresses.js';
import { readBody } from './answers.js';
import { fetchWithAuth } from './calls.js';
import { withDeadline } from './deadline.js';
import { download, upload } from './transfers.js';

const CALL_SECONDS = 60;
const SENDABLE = [Blob, FormData, URLSearchParams, ArrayBuffer, ReadableStream];

type QueryValue = string | number | boolean | null | undefined;

export interface CallOptions {
  /** Added to the path; null and undefined are left out, lists are repeated. */
  query?: Record<string, QueryValue | readonly QueryValue[]>;
  headers?: HeadersInit;
  signal?: AbortSignal;
  /** 60 if not given. */
  timeoutSeconds?: number;
}

/**
 * Each answers with the parsed JSON, with text if the answer is text, or with undefined if it has no body.
 * The type is the caller's promise: nothing checks that the backend keeps it.
 */
export const apiClient = {
  get: <T = unknown>(path: string, options?: CallOptions) => call<T>('GET', path, undefined, options),
  post: <T = unknown>(path: string, body?: unknown, options?: CallOptions) => call<T>('POST', path, body, options),
  put: <T = unknown>(path: string, body?: unknown, options?: CallOptions) => call<T>('PUT', path, body, options),
  patch: <T = unknown>(path: string, body?: unknown, options?: CallOptions) => call<T>('PATCH', path, body, options),
  delete: <T = unknown>(path: string, options?: CallOptions) => call<T>('DELETE', path, undefined, options),
  upload,
  download,
};

async function call<T>(method: string, path: string, body: unknown, options: CallOptions = {}): Promise<T> {
  const headers = new Headers(options.headers);
  if (!headers.has('Accept')) headers.set('Accept', 'application/json');
  const address = resolveOwnAddress(addQuery(path, options.query));
  return withDeadline(options.timeoutSeconds ?? CALL_SECONDS, options.signal, async (signal) => {
    const sent = encodeBody(body, headers);
    return readBody<T>(await fetchWithAuth(address, { method, headers, signal, ...(sent !== undefined && { body: sent }) }));
  });
}

function addQuery(path: string, query: CallOptions['query'] = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, values] of Object.entries(query)) {
    for (const value of [values].flat()) if (value != null) parameters.append(name, String(value));
  }
  const added = parameters.toString();
  return added ? `${path}${path.includes('?') ? '&' : '?'}${added}` : path;
}

/** What `fetch` knows how to send goes as it is, anything else as JSON. */
function encodeBody(body: unknown, headers: Headers): BodyInit | undefined {
  const isSendable =
    body === undefined ||
    typeof body === 'string' ||
    ArrayBuffer.isView(body) ||
    SENDABLE.some((kind) => body instanceof kind);
  if (isSendable) return body as BodyInit | undefined;
  if (!headers.has('Content-Type')) headers.set('Content-Type', 'application/json');
  return JSON.stringify(body);
}
