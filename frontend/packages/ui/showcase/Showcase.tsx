/** Every component of the kit, in the states that matter. */

import {
  AccessDenied,
  Button,
  DataTable,
  GlassCard,
  HeaderNav,
  LoginPanel,
  SessionExpiryDialog,
  Spinner,
  ToastProvider,
  useToast,
  UserMenu,
  type Column,
} from '@empowernow/ui';
import { useState, type ReactNode } from 'react';

interface Form {
  id: number;
  title: string;
  owner: string;
  answers: number;
}

const FORMS: Form[] = [
  { id: 1, title: 'Travel request', owner: 'Alice Arden', answers: 128 },
  { id: 2, title: 'Équipement à domicile', owner: 'Bob Brown', answers: 9 },
  { id: 3, title: 'Access to the archive', owner: 'Carol Castellanos', answers: 1042 },
];

const COLUMNS: Column<Form>[] = [
  { key: 'title', header: 'Title', render: (form) => form.title, sortBy: (form) => form.title, isRowHeader: true },
  { key: 'owner', header: 'Owner', render: (form) => form.owner, sortBy: (form) => form.owner },
  { key: 'answers', header: 'Answers', render: (form) => form.answers, sortBy: (form) => form.answers, align: 'end' },
  {
    key: 'actions',
    header: 'Actions',
    align: 'end',
    render: (form) => (
      <Button size="small" variant="secondary" aria-label={`Edit ${form.title}`}>
        Edit
      </Button>
    ),
  },
];

export function Showcase(): ReactNode {
  return (
    <ToastProvider>
      <HeaderNav
        brand="EmpowerNow"
        items={[
          { label: 'Forms', href: '#forms', isCurrent: true },
          { label: 'My sessions', href: '#sessions' },
          { label: 'Help', href: '#help' },
        ]}
      >
        <UserMenu
          name="Alice Arden"
          detail="alice@example.com"
          items={[
            { label: 'My sessions', onSelect: () => undefined },
            { label: 'Log out', onSelect: () => undefined },
          ]}
        />
      </HeaderNav>
      <main id="main" className="en-main">
        <Buttons />
        <GlassCard title="Forms" actions={<Button size="small">New form</Button>}>
          <DataTable caption="Forms that you may see" columns={COLUMNS} rows={FORMS} getKey={(form) => form.id} />
        </GlassCard>
        <GlassCard title="Tables without rows">
          <DataTable caption="Still loading" columns={COLUMNS} rows={[]} getKey={(form) => form.id} isLoading />
          <DataTable caption="Empty" columns={COLUMNS} rows={[]} getKey={(form) => form.id} />
        </GlassCard>
        <Feedback />
        <LoginPanel onLogin={() => undefined} error="The login did not help. Does your browser refuse the cookies of this site?">
          Log in to see your forms.
        </LoginPanel>
        <AccessDenied reason="Only its owner may delete this form." requestId="0d0b2e3c6f4f4f6b9a0e">
          <Button variant="secondary">Back to the forms</Button>
        </AccessDenied>
      </main>
    </ToastProvider>
  );
}

function Buttons(): ReactNode {
  return (
    <GlassCard title="Buttons and spinners">
      <div className="en-actions">
        <Button>Save</Button>
        <Button variant="secondary">Cancel</Button>
        <Button variant="danger">Delete</Button>
        <Button variant="quiet">More</Button>
        <Button isBusy>Saving</Button>
        <Button disabled>Not now</Button>
        <Button size="small">Small</Button>
        <Spinner size="large" label="Loading the forms" />
      </div>
    </GlassCard>
  );
}

function Feedback(): ReactNode {
  const toast = useToast();
  const [dialog, setDialog] = useState<'none' | 'renewable' | 'final'>('none');
  const close = () => setDialog('none');
  return (
    <GlassCard title="Notes and the expiry dialog">
      <div className="en-actions">
        <Button variant="secondary" onClick={() => toast('A form was changed by Bob.')}>
          Show a note
        </Button>
        <Button variant="secondary" onClick={() => toast('The form is saved.', { kind: 'success' })}>
          Show a success
        </Button>
        <Button variant="secondary" onClick={() => toast('The server cannot be reached. Request 0d0b2e3c6f4f4f6b9a0e', { kind: 'error' })}>
          Show an error
        </Button>
        <Button variant="secondary" onClick={() => setDialog('renewable')}>
          Session about to expire
        </Button>
        <Button variant="secondary" onClick={() => setDialog('final')}>
          Session at its end
        </Button>
      </div>
      <SessionExpiryDialog
        isOpen={dialog !== 'none'}
        expiresIn={97}
        canRenew={dialog === 'renewable'}
        onRenew={close}
        onLogout={close}
        onDismiss={close}
      />
    </GlassCard>
  );
}
