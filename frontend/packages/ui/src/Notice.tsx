/** A sentence that stands out. */

import type { ReactNode } from 'react';

export type NoticeKind = 'info' | 'success' | 'error';

const MARKS: Record<NoticeKind, string> = { info: 'i', success: '✓', error: '!' };

export function Notice({ kind, children }: { kind: NoticeKind; children: ReactNode }): ReactNode {
  return (
    <div className={`en-notice en-notice--${kind}`} role={kind === 'error' ? 'alert' : 'status'}>
      <span className="en-notice__mark" aria-hidden="true">
        {MARKS[kind]}
      </span>
      <div className="en-notice__text">{children}</div>
    </div>
  );
}
