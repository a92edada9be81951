/** Where the user is logged in, and a way to end that. */

import { apiClient, useAuth } from '@empowernow/bff-auth-react';
import { Button, DataTable, GlassCard, type Column } from '@empowernow/ui';
import { useState } from 'react';
import { ErrorNotice } from '../notices.js';
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
    setFailure(null);
    try {
      await apiClient.delete(`/api/me/sessions/${encodeURIComponent(session.id)}`);
      if (session.current) await reloadSession();
      else reload();
    } catch (problem) {
      setFailure(problem);
    }
  };
  return (
    <GlassCard title="My sessions" headingLevel={1}>
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
      {error ? (
        <ErrorNotice error={error} onRetry={reload} />
      ) : (
        <DataTable
          caption="Every browser in which you are logged in"
          columns={buildColumns((session) => void end(session))}
          rows={sessions ?? []}
          getKey={(session) => session.id}
          isLoading={!sessions}
        />
      )}
    </GlassCard>
  );
}

const buildColumns = (end: (session: OwnSession) => void): Column<OwnSession>[] => [
  {
    key: 'which',
    header: 'Browser',
    isRowHeader: true,
    render: (session) => (
      <>
        {session.current ? 'This browser' : 'Another browser'}
        <div className="en-fact">
          {session.device}, since {new Date(session.created_at).toLocaleString()}
        </div>
      </>
    ),
  },
  {
    key: 'end',
    header: 'End',
    align: 'end',
    render: (session) => (
      <Button
        variant="secondary"
        size="small"
        aria-label={session.current ? 'End this session' : `End the session of ${session.device}`}
        onClick={() => end(session)}
      >
        End
      </Button>
    ),
  },
];
