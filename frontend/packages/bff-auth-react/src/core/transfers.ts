/** Files, up and down. */

import { resolveOwnAddress } from './addresses.js';
import { readBody } from './answers.js';
import { callWithSession, fetchWithAuth } from './calls.js';
import { buildAborted, readError, toBffError } from './errors.js';

export interface UploadOptions {
  method?: 'POST' | 'PUT' | 'PATCH';
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Called while the body goes up; `total` is in bytes, and 0 where the browser cannot tell. */
  onProgress?: (progress: { loaded: number; total: number }) => void;
}

export interface DownloadOptions {
  signal?: AbortSignal;
  /** The name to save under; the backend's if not given. */
  fileName?: string;
  /** False to hand the file over without saving it. */
  save?: boolean;
}

/** Sends a file, or a form with files, and returns the answer as `apiClient.post` does. */
export async function upload<T = unknown>(path: string, body: Blob | FormData, options: UploadOptions = {}): Promise<T> {
  const method = options.method ?? 'POST';
  const address = resolveOwnAddress(path);
  return readBody<T>(await callWithSession(method, true, (csrfToken) => send(method, address, body, csrfToken, options)));
}

/** `fetch` cannot tell how far an upload has come, `XMLHttpRequest` can. */
function send(method: string, address: string, body: Blob | FormData, csrfToken: string, options: UploadOptions): Promise<Response> {
  return new Promise((resolve, reject) => {
    const { signal, onProgress } = options;
    const request = new XMLHttpRequest();
    request.open(method, address);
    request.responseType = 'blob';
    request.withCredentials = true;
    request.setRequestHeader('Accept', 'application/json');
    for (const [name, value] of Object.entries(options.headers ?? {})) request.setRequestHeader(name, value);
    if (csrfToken) request.setRequestHeader('X-CSRF-Token', csrfToken);
    if (onProgress) {
      request.upload.onprogress = ({ loaded, total }) => onProgress({ loaded, total });
    }
    const abort = () => request.abort();
    signal?.addEventListener('abort', abort);
    request.onloadend = () => signal?.removeEventListener('abort', abort);
    request.onload = () => resolve(buildResponse(request));
    request.onerror = () => reject(toBffError(null));
    request.onabort = () => reject(buildAborted());
    if (signal?.aborted) reject(buildAborted());
    else request.send(body);
  });
}

function buildResponse(request: XMLHttpRequest): Response {
  const lines = request.getAllResponseHeaders().trim().split(/[\r\n]+/).filter(Boolean);
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const hasNoBody = [204, 205, 304].includes(request.status);
  return new Response(hasNoBody ? null : (request.response as Blob), { status: request.status, headers });
}

/**
 * Fetches a file and saves it as a browser does. The whole file passes through memory: give large ones a route with
 * `navigation: true` and a link.
 */
export async function download(path: string, options: DownloadOptions = {}): Promise<{ blob: Blob; fileName: string }> {
  try {
    const response = await fetchWithAuth(path, { signal: options.signal ?? null });
    if (!response.ok) throw await readError(response);
    const fileName = options.fileName ?? (findFileName(response) || 'download');
    const blob = await response.blob();
    if (options.save !== false) save(blob, fileName);
    return { blob, fileName };
  } catch (error) {
    throw toBffError(error);
  }
}

/** Reads the name from `Content-Disposition` (RFC 6266); a path in it is cut off. */
function findFileName(response: Response): string | undefined {
  const value = response.headers.get('Content-Disposition') ?? '';
  let name = /filename\s*=\s*"?([^";]+)/i.exec(value)?.[1];
  try {
    const extended = /filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)/i.exec(value)?.[1];
    if (extended) name = decodeURIComponent(extended);
  } catch {
    // badly encoded: the plain name has to do
  }
  return name?.trim().split(/[/\\]/).pop();
}

function save(blob: Blob, fileName: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = fileName;
  link.click();
  // Not at once: a browser may begin to read after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
