/** The page for a 403: logged in, but no. */

import type { ReactNode } from 'react';
import { GlassCard } from './GlassCard.js';

export interface AccessDeniedProps {
  title?: string;
  /** Why, if the decision point told it. */
  reason?: string | undefined;
  /** Tells the operators which call it was. */
  requestId?: string | undefined;
  /** Ways on: back, or to whoever can give the permission. */
  children?: ReactNode;
}

export function AccessDenied({ title = 'You may not do this', reason, requestId, children }: AccessDeniedProps): ReactNode {
  return (
    <GlassCard className="en-panel" title={title} headingLevel={1}>
      <p className="en-muted">{reason ?? 'You are logged in, but you do not have the permission that this needs.'}</p>
      {requestId && (
        <p className="en-fact">
          Request <code>{requestId}</code>
        </p>
      )}
      {children && <div className="en-actions">{children}</div>}
    </GlassCard>
  );
}
