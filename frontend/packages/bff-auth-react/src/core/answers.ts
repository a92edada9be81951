/** What a call answers with, or the error that it fails with. */

import { BffError, isJson, readError } from './errors.js';

/** Returns what an answer holds; throws what it refuses. */
export async function readBody<T>(response: Response): Promise<T> {
  if (!response.ok) throw await readError(response);
  const text = await response.text();
  if (!text) return undefined as T;
  try {
    if (isJson(response)) return JSON.parse(text) as T;
    // A page where data was wanted is an edge's or a dev server's fallback, never the backend's answer.
    if (/^text\/(?!html)/i.test(response.headers.get('Content-Type') ?? '')) return text as T;
  } catch {
    // JSON that is none
  }
  throw new BffError('unexpected_answer', 'The answer is neither JSON nor text.', {
    status: response.status,
    requestId: response.headers.get('X-Correlation-ID') ?? undefined,
  });
}
