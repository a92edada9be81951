/** Bounds a piece of work in time, answer's body included, and gives its failures a code. */

import { BffError, buildAborted, toBffError } from './errors.js';

export async function withDeadline<T>(
  seconds: number,
  signal: AbortSignal | null | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, seconds * 1000);
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  try {
    return await work(controller.signal);
  } catch (error) {
    if (signal?.aborted) throw buildAborted(error);
    if (controller.signal.aborted)
      throw new BffError('timeout', `There was no answer within ${seconds} seconds.`, { cause: error });
    throw toBffError(error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}
