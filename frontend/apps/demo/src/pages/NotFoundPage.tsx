import { GlassCard } from '@empowernow/ui';
import { Link } from 'react-router';

export function NotFoundPage() {
  return (
    <GlassCard className="en-panel" title="There is no such page" headingLevel={1}>
      <Link className="en-button en-button--secondary" to="/">
        To the start
      </Link>
    </GlassCard>
  );
}
