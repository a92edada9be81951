/** The way in, for pages that say something before they send anybody to the login. */

import type { ReactNode } from 'react';
import { Button } from './Button.js';
import { GlassCard } from './GlassCard.js';
import { Notice } from './Notice.js';

export interface LoginPanelProps {
  onLogin: () => void;
  title?: string;
  /** A sentence or two below the title. */
  children?: ReactNode;
  label?: string;
  /** What went wrong, if a login was tried. */
  error?: ReactNode;
  isBusy?: boolean;
}

export function LoginPanel({ onLogin, title = 'Welcome', children, label = 'Log in', error, isBusy = false }: LoginPanelProps): ReactNode {
  return (
    <GlassCard className="en-panel" title={title} headingLevel={1}>
      {children && <div className="en-muted">{children}</div>}
      {error && <Notice kind="error">{error}</Notice>}
      <Button onClick={onLogin} isBusy={isBusy} className="en-panel__action">
        {label}
      </Button>
    </GlassCard>
  );
}
