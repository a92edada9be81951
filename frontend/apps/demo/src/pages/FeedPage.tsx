/** What happens to forms, as it happens: server-sent events through the BFF. */

import { apiClient, createEventSource, type BffError, type LiveStatus } from '@empowernow/bff-auth-react';
import { Button, GlassCard } from '@empowernow/ui';
import { useEffect, useState } from 'react';
import { ErrorNotice } from '../notices.js';
import { toBffError } from '../toBffError.js';
import type { Form } from '../forms.js';

interface FeedEvent {
  event: string;
  sent_at: number;
  form?: Form;
  id?: string;
  text?: string;
}

const MOST_SHOWN = 50;

export function FeedPage() {
  const [status, setStatus] = useState<LiveStatus>('connecting');
  const [events, setEvents] = useState<FeedEvent[]>([]);
  const [error, setError] = useState<BffError | null>(null);
  useEffect(() => {
    const source = createEventSource('/api/crud/events', {
      onEvent: ({ data }) => setEvents((before) => [JSON.parse(data) as FeedEvent, ...before].slice(0, MOST_SHOWN)),
      onStatus: (now) => {
        setStatus(now);
        if (now === 'open') setError(null);
      },
      onError: setError,
    });
    return source.close;
  }, []);
  const greet = () => {
    apiClient.post('/api/crud/events', { text: 'Hello, everybody' }).catch((failure: unknown) => setError(toBffError(failure)));
  };
  return (
    <GlassCard
      title="Live feed"
      headingLevel={1}
      actions={
        <p role="status" className="status" data-status={status}>
          {status}
        </p>
      }
    >
      {error && <ErrorNotice error={error} />}
      <Button variant="secondary" onClick={greet}>
        Greet everybody
      </Button>
      <ol className="events" aria-label="Events">
        {events.map((event, index) => (
          <li key={events.length - index}>
            <span>
              <b>{event.event}</b> {event.form?.title ?? event.text ?? event.id}
            </span>
            <time className="en-fact" dateTime={new Date(event.sent_at * 1000).toISOString()}>
              {new Date(event.sent_at * 1000).toLocaleTimeString()}
            </time>
          </li>
        ))}
      </ol>
    </GlassCard>
  );
}
