import { BffError } from '@empowernow/bff-auth-react';

/** Whatever a call threw, as the one kind of error that the pages show. */
export const toBffError = (error: unknown): BffError =>
  error instanceof BffError ? error : new BffError('unexpected_answer', String(error));
