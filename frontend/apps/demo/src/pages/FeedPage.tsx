/** What happens to forms, as it happens: server-sent events through the BFF. */

import { apiClient, createEventSource, type BffError, type LiveStatus } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
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
    <>
      <div className="heading">
        <h1>Live feed</h1>
        <p role="status" className="status" data-status={status}>
          {status}
        </p>
      </div>
      {error && <ErrorNotice error={error} />}
      <p>
        <Button onClick={greet}>Greet everybody</Button>
      </p>
      <ol className="card rows" aria-label="Events">
        {events.map((event, index) => (
          <li key={events.length - index}>
            <span className="text">
              <b>{event.event}</b> {event.form?.title ?? event.text ?? event.id}
            </span>
            <time className="small" dateTime={new Date(event.sent_at * 1000).toISOString()}>
              {new Date(event.sent_at * 1000).toLocaleTimeString()}
            </time>
          </li>
        ))}
      </ol>
    </>
  );
}
