/** Where the user is logged in, and a way to end that. */

import { apiClient, useAuth } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useState } from 'react';
import { ErrorNotice, Waiting } from '../notices.js';
import { toBffError } from '../toBffError.js';
import { useLoaded } from '../useLoaded.js';

interface OwnSession {
  id: string;
  current: boolean;
  device: string;
  created_at: string;
  last_seen_at: string;
}

const listSessions = async () => (await apiClient.get<{ sessions: OwnSession[] }>('/api/me/sessions')).sessions;

export function SessionsPage() {
  const { reload: reloadSession } = useAuth();
  const { value: sessions, error, reload } = useLoaded(listSessions);
  const [failure, setFailure] = useState<unknown>(null);
  const end = async (session: OwnSession) => {
    try {
      await apiClient.delete(`/api/me/sessions/${encodeURIComponent(session.id)}`);
      if (session.current) await reloadSession();
      else reload();
    } catch (problem) {
      setFailure(problem);
    }
  };
  return (
    <>
      <h1>My sessions</h1>
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
      {error && <ErrorNotice error={error} onRetry={reload} />}
      {!error && !sessions && <Waiting />}
      {sessions && (
        <ul className="card rows" aria-label="Sessions">
          {sessions.map((session) => (
            <li key={session.id}>
              <div className="text">
                <b>{session.current ? 'This browser' : 'Another browser'}</b>
                <p className="small">
                  {session.device}, since {new Date(session.created_at).toLocaleString()}
                </p>
              </div>
              <Button className="quiet" onClick={() => void end(session)}>
                {session.current ? 'End this session' : 'End'}
              </Button>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
