/** All forms, with the buttons that would work for this user. */

import { PermissionGate } from '@empowernow/bff-auth-react';
import { Button, DataTable, GlassCard, useToast, type Column } from '@empowernow/ui';
import { useState } from 'react';
import { Link } from 'react-router';
import { deleteForm, listForms, type Form } from '../forms.js';
import { Denied, ErrorNotice } from '../notices.js';
import { toBffError } from '../toBffError.js';
import { useLoaded } from '../useLoaded.js';

export function FormsPage() {
  const { value: forms, error, reload } = useLoaded(listForms);
  const [failure, setFailure] = useState<unknown>(null);
  const showToast = useToast();
  const remove = async (form: Form) => {
    setFailure(null);
    try {
      await deleteForm(form.id);
      showToast(`${form.title} is deleted.`, { kind: 'success' });
      reload();
    } catch (problem) {
      setFailure(problem);
    }
  };
  if (error?.code === 'access_denied') return <Denied requestId={error.requestId} />;
  return (
    <GlassCard
      title="Forms"
      headingLevel={1}
      actions={
        <PermissionGate action="create" resource="form" fallback={<p className="en-fact">You may read forms.</p>}>
          <Link className="en-button en-button--primary" to="/forms/new">
            New form
          </Link>
        </PermissionGate>
      }
    >
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
      {error ? (
        <ErrorNotice error={error} onRetry={reload} />
      ) : (
        <DataTable
          caption="What everybody has written"
          columns={buildColumns((form) => void remove(form))}
          rows={forms ?? []}
          getKey={(form) => form.id}
          isLoading={!forms}
          empty="No forms yet."
        />
      )}
    </GlassCard>
  );
}

const buildColumns = (remove: (form: Form) => void): Column<Form>[] => [
  {
    key: 'title',
    header: 'Title',
    isRowHeader: true,
    sortBy: (form) => form.title,
    render: (form) => (
      <>
        <Link to={`/forms/${encodeURIComponent(form.id)}`}>{form.title}</Link>
        <div className="en-fact">{form.kind}</div>
      </>
    ),
  },
  { key: 'owner', header: 'Owner', sortBy: (form) => form.owner, render: (form) => form.owner },
  {
    key: 'delete',
    header: 'Delete',
    align: 'end',
    render: (form) => (
      <PermissionGate action="delete" resource="form" id={form.id}>
        <Button variant="secondary" size="small" aria-label={`Delete ${form.title}`} onClick={() => remove(form)}>
          Delete
        </Button>
      </PermissionGate>
    ),
  },
];
