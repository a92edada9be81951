/** A panel of frosted glass. With a title it is a section that screen readers can find by its name. */

import { useId, type ComponentProps, type ReactNode } from 'react';
import { joinClasses } from './classNames.js';

export interface GlassCardProps extends Omit<ComponentProps<'section'>, 'title'> {
  title?: ReactNode;
  /** How deep the title stands in the page's outline; 2 if not given. */
  headingLevel?: 1 | 2 | 3 | 4;
  /** Buttons beside the title. */
  actions?: ReactNode;
}

export function GlassCard({ title, headingLevel = 2, actions, className, children, ...rest }: GlassCardProps): ReactNode {
  const titleId = useId();
  const Heading = `h${headingLevel}` as const;
  return (
    <section className={joinClasses('en-card', className)} aria-labelledby={title ? titleId : undefined} {...rest}>
      {title || actions ? (
        <div className="en-card__head">
          {title && (
            <Heading id={titleId} className="en-card__title">
              {title}
            </Heading>
          )}
          {actions && <div className="en-actions">{actions}</div>}
        </div>
      ) : null}
      {children}
    </section>
  );
}
