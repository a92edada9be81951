/**
 * The one error that calls through the BFF end in. `code` is stable: branch on it and on nothing else.
 *
 * Codes of the BFF come with the header `X-BFF-Error`, which no backend can set; whatever else goes wrong has one of
 * the codes of `LocalErrorCode`. So a backend's own 403 is `http_error`, never `access_denied`.
 */

export type BffErrorCode =
  | 'ambiguous_path'
  | 'bad_request'
  | 'unknown_host'
  | 'unsafe_return_to'
  | 'login_state_invalid'
  | 'login_failed'
  | 'not_authenticated'
  | 'session_expired'
  | 'insufficient_user_authentication'
  | 'token_invalid'
  | 'access_denied'
  | 'unmapped'
  | 'csrf_failed'
  | 'route_not_found'
  | 'method_not_allowed'
  | 'body_too_large'
  | 'uri_too_long'
  | 'rate_limited'
  | 'headers_too_large'
  | 'internal_error'
  | 'upstream_unreachable'
  | 'upstream_bad_response'
  | 'service_token_unavailable'
  | 'circuit_open'
  | 'upstream_busy'
  | 'store_unavailable'
  | 'idp_unavailable'
  | 'pdp_unavailable'
  | 'upstream_timeout';

/** What goes wrong on this side of the BFF, or behind it. */
export type LocalErrorCode =
  | 'http_error' // a backend's or an edge's own 4xx or 5xx; see `status` and `problem`
  | 'network_error' // no answer: offline, refused, cut off, or forbidden by CORS
  | 'timeout'
  | 'aborted' // by the caller's own signal
  | 'unexpected_answer' // an answer that is not what was asked for: HTML, broken JSON
  | 'login_loop' // a second automatic login within a minute
  | 'base_url_invalid'
  | 'base_url_conflict'; // two providers on a page that name different BFFs

export type ErrorCode = BffErrorCode | LocalErrorCode;

export interface ErrorFacts {
  /** The HTTP status; 0 where there was no answer. */
  status?: number;
  /** Tells the BFF's operators which call it was; show it beside the message. */
  requestId?: string | undefined;
  /** The answer's JSON body, if it had one: a stranger's data. */
  problem?: Readonly<Record<string, unknown>> | undefined;
  retryAfterSeconds?: number | undefined;
  cause?: unknown;
}

export class BffError extends Error {
  override readonly name = 'BffError';
  readonly status: number = 0;
  declare readonly requestId: string | undefined;
  declare readonly problem: Readonly<Record<string, unknown>> | undefined;
  declare readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly code: ErrorCode,
    message: string,
    facts: ErrorFacts = {},
  ) {
    super(message);
    Object.assign(this, facts);
  }
}

/** The code that the BFF refused with, or null if the answer is a backend's own or no refusal. */
export const getBffCode = (response: Response): BffErrorCode | null =>
  response.headers.get('X-BFF-Error') as BffErrorCode | null;

/** Reads an answer of 4xx or 5xx; never fails, whatever its body holds. */
export async function readError(response: Response): Promise<BffError> {
  const problem = await readProblem(response);
  const code = getBffCode(response);
  const retryAfter = Number(response.headers.get('Retry-After') ?? NaN);
  return new BffError(
    code ?? 'http_error',
    findText(problem?.detail) ?? findText(problem?.title) ?? `The server answered ${response.status}.`,
    {
      status: response.status,
      requestId: response.headers.get('X-Correlation-ID') ?? findText(problem?.request_id),
      problem,
      retryAfterSeconds: retryAfter >= 0 ? retryAfter : undefined,
    },
  );
}

async function readProblem(response: Response): Promise<Record<string, unknown> | undefined> {
  if (!isJson(response)) return undefined;
  try {
    const body: unknown = await response.json();
    return isRecord(body) ? body : undefined;
  } catch {
    return undefined; // the status has to tell it then
  }
}

export const isJson = (response: Response): boolean =>
  /^application\/([\w.-]+\+)?json\b/i.test(response.headers.get('Content-Type') ?? '');

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const findText = (value: unknown): string | undefined => (typeof value === 'string' && value ? value : undefined);

/** Whatever was thrown, as a `BffError`. */
export function toBffError(error: unknown): BffError {
  if (error instanceof BffError) return error;
  if ((error as Error | null)?.name === 'AbortError') return buildAborted(error);
  return new BffError('network_error', 'The server cannot be reached.', { cause: error });
}

export const buildAborted = (cause?: unknown): BffError => new BffError('aborted', 'The call was given up.', { cause });
