/** All forms, with the buttons that would work for this user. */

import { PermissionGate } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useState } from 'react';
import { Link } from 'react-router';
import { deleteForm, listForms, type Form } from '../forms.js';
import { AccessDenied, ErrorNotice, Waiting } from '../notices.js';
import { toBffError } from '../toBffError.js';
import { useLoaded } from '../useLoaded.js';

export function FormsPage() {
  const { value: forms, error, reload } = useLoaded(listForms);
  const [failure, setFailure] = useState<unknown>(null);
  const remove = (form: Form) => {
    setFailure(null);
    deleteForm(form.id).then(reload, setFailure);
  };
  if (error?.code === 'access_denied') return <AccessDenied />;
  return (
    <>
      <div className="heading">
        <h1>Forms</h1>
        <PermissionGate action="create" resource="form" fallback={<p className="small">You may read forms.</p>}>
          <Link className="en-button en-button--primary" to="/forms/new">
            New form
          </Link>
        </PermissionGate>
      </div>
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
      {error && <ErrorNotice error={error} onRetry={reload} />}
      {!error && !forms && <Waiting />}
      {forms?.length === 0 && <p className="card">No forms yet.</p>}
      {forms && forms.length > 0 && (
        <ul className="card rows" aria-label="Forms">
          {forms.map((form) => (
            <li key={form.id}>
              <div className="text">
                <Link to={`/forms/${encodeURIComponent(form.id)}`}>{form.title}</Link>
                <p className="small">
                  {form.kind} of {form.owner}
                </p>
              </div>
              <PermissionGate action="delete" resource="form" id={form.id}>
                <Button className="quiet" aria-label={`Delete ${form.title}`} onClick={() => remove(form)}>
                  Delete
                </Button>
              </PermissionGate>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}
