/** One form: a new one, one to change, or one to read, as the user may. */

import { usePermission } from '@empowernow/bff-auth-react';
import { Button, GlassCard, useToast } from '@empowernow/ui';
import { useCallback, useState, type SyntheticEvent } from 'react';
import { Link, useNavigate, useParams } from 'react-router';
import { changeForm, createForm, getForm, KINDS, type Form, type FormContent } from '../forms.js';
import { Denied, ErrorNotice, Waiting } from '../notices.js';
import { toBffError } from '../toBffError.js';
import { useLoaded } from '../useLoaded.js';

export function FormPage() {
  const { id = '' } = useParams();
  return id === 'new' ? <NewForm /> : <ExistingForm key={id} id={id} />;
}

function NewForm() {
  const { allowed, isLoading, reason, error } = usePermission({ action: 'create', resource: 'form' });
  if (isLoading) return <Waiting />;
  if (error) return <ErrorNotice error={error} />;
  if (!allowed) return <Denied reason={reason} />;
  return <Editor heading="New form" form={{ title: '', kind: KINDS[0] }} save={createForm} />;
}

function ExistingForm({ id }: { id: string }) {
  const { value: form, error, reload } = useLoaded(useCallback(() => getForm(id), [id]));
  const { allowed, isLoading } = usePermission({ action: 'update', resource: 'form', id });
  if (error?.code === 'access_denied') return <Denied requestId={error.requestId} />;
  if (error) return <ErrorNotice error={error} onRetry={reload} />;
  if (!form || isLoading) return <Waiting />;
  if (!allowed) return <Reader form={form} />;
  return <Editor heading={form.title} form={form} save={(content) => changeForm(id, content)} />;
}

function Reader({ form }: { form: Form }) {
  return (
    <GlassCard title={form.title} headingLevel={1}>
      <p>
        A {form.kind} of {form.owner}. You may read it.
      </p>
      <Link className="en-button en-button--secondary" to="/forms">
        Back to the forms
      </Link>
    </GlassCard>
  );
}

interface EditorProps {
  heading: string;
  form: FormContent;
  save: (content: FormContent) => Promise<unknown>;
}

function Editor({ heading, form, save }: EditorProps) {
  const navigate = useNavigate();
  const showToast = useToast();
  const [content, setContent] = useState<FormContent>({ title: form.title, kind: form.kind });
  const [failure, setFailure] = useState<unknown>(null);
  const [isSaving, setIsSaving] = useState(false);
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    setIsSaving(true);
    setFailure(null);
    save(content).then(
      () => {
        showToast(`${content.title} is saved.`, { kind: 'success' });
        void navigate('/forms');
      },
      (error: unknown) => {
        setFailure(error);
        setIsSaving(false);
      },
    );
  };
  return (
    <form onSubmit={submit}>
      <GlassCard className="fields" title={heading} headingLevel={1}>
        <label>
          Title
          <input
            required
            maxLength={200}
            value={content.title}
            onChange={(event) => setContent({ ...content, title: event.target.value })}
          />
        </label>
        <label>
          Kind
          <select value={content.kind} onChange={(event) => setContent({ ...content, kind: event.target.value })}>
            {KINDS.map((kind) => (
              <option key={kind}>{kind}</option>
            ))}
          </select>
        </label>
        {failure !== null && <ErrorNotice error={toBffError(failure)} />}
        <div className="en-actions">
          <Button type="submit" isBusy={isSaving}>
            Save
          </Button>
          <Link className="en-button en-button--secondary" to="/forms">
            Cancel
          </Link>
        </div>
      </GlassCard>
    </form>
  );
}
