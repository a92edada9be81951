/** What a page shows in place of its content: it waits, it may not, it failed. */

import type { BffError } from '@empowernow/bff-auth-react';
import { AccessDenied, Button, Notice, Spinner } from '@empowernow/ui';
import { Link } from 'react-router';

export function Waiting() {
  return (
    <p className="waiting">
      <Spinner size="large" label="One moment" />
    </p>
  );
}

/** 401 never gets here: the SDK goes to the login. 403 is for the page, and this is what it says. */
export function Denied({ reason, requestId }: { reason?: string | undefined; requestId?: string | undefined }) {
  return (
    <AccessDenied reason={reason} requestId={requestId}>
      <Link className="en-button en-button--secondary" to="/forms">
        Back to the forms
      </Link>
    </AccessDenied>
  );
}

export function ErrorNotice({ error, onRetry }: { error: BffError; onRetry?: () => void }) {
  const reason = error.problem?.reason;
  return (
    <Notice kind="error">
      <b>{error.message}</b> {typeof reason === 'string' && reason}
      <p className="en-fact">
        Code <code>{error.code}</code>
        {error.requestId && (
          <>
            , request <code>{error.requestId}</code>
          </>
        )}
      </p>
      {onRetry && (
        <Button size="small" variant="secondary" onClick={onRetry}>
          Try again
        </Button>
      )}
    </Notice>
  );
}
