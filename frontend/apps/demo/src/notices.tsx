/** What a page shows in place of its content: it waits, it may not, it failed. */

import type { BffError } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { Link } from 'react-router';

export function Waiting() {
  return (
    <p className="waiting" role="status">
      One moment …
    </p>
  );
}

/** 401 never gets here: the SDK goes to the login. 403 is for the page, and this is what it says. */
export function AccessDenied({ reason }: { reason?: string | undefined }) {
  return (
    <section className="card notice" aria-labelledby="denied">
      <p className="big" aria-hidden="true">
        403
      </p>
      <h1 id="denied">You may not do this</h1>
      <p>{reason ?? 'The decision point said no. Somebody with more rights has to do it.'}</p>
      <p>
        <Link to="/forms">Back to the forms</Link>
      </p>
    </section>
  );
}

export function ErrorNotice({ error, onRetry }: { error: BffError; onRetry?: () => void }) {
  const reason = error.problem?.reason;
  return (
    <div className="error" role="alert">
      <p>
        <b>{error.message}</b> {typeof reason === 'string' && reason}
      </p>
      <p className="small">
        Code <code>{error.code}</code>
        {error.requestId && (
          <>
            , request <code>{error.requestId}</code>
          </>
        )}
      </p>
      {onRetry && <Button onClick={onRetry}>Try again</Button>}
    </div>
  );
}
