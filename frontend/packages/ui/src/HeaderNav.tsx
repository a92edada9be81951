/** The bar at the top: whose page it is, where one can go, and who is here. */

import type { ReactNode } from 'react';

export interface HeaderNavItem {
  label: string;
  href: string;
  isCurrent?: boolean;
}

export interface HeaderNavProps {
  brand: ReactNode;
  items?: readonly HeaderNavItem[];
  /** How a router draws a link; give it the class and `aria-current` that it is handed. */
  renderLink?: (item: HeaderNavItem, attributes: { className: string; 'aria-current': 'page' | undefined }) => ReactNode;
  /** The id of the element that the first link, for keyboards, jumps to; `main` if not given. */
  contentId?: string;
  /** What stands at the right, such as a `UserMenu`. */
  children?: ReactNode;
}

export function HeaderNav({ brand, items = [], renderLink = renderAnchor, contentId = 'main', children }: HeaderNavProps): ReactNode {
  return (
    <header className="en-header">
      <a className="en-skip-link" href={`#${contentId}`}>
        Skip to the content
      </a>
      <div className="en-header__brand">{brand}</div>
      {items.length > 0 && (
        <nav className="en-header__nav" aria-label="Main">
          <ul>
            {items.map((item) => (
              <li key={item.href}>
                {renderLink(item, { className: 'en-header__link', 'aria-current': item.isCurrent ? 'page' : undefined })}
              </li>
            ))}
          </ul>
        </nav>
      )}
      <div className="en-header__end">{children}</div>
    </header>
  );
}

const renderAnchor: NonNullable<HeaderNavProps['renderLink']> = (item, attributes) => (
  <a href={item.href} {...attributes}>
    {item.label}
  </a>
);
