/** The forms of the demo's backend, as `/api/crud/forms` shows them. */

import { apiClient } from '@empowernow/bff-auth-react';

export interface Form {
  id: string;
  title: string;
  kind: string;
  owner: string;
  changed_at: number;
}

export const KINDS = ['note', 'survey', 'order'] as const;
export type FormContent = Pick<Form, 'title' | 'kind'>;

const addressOf = (id: string) => `/api/crud/forms/${encodeURIComponent(id)}`;

export const listForms = async (): Promise<Form[]> => (await apiClient.get<{ forms: Form[] }>('/api/crud/forms')).forms;
export const getForm = (id: string) => apiClient.get<Form>(addressOf(id));
export const createForm = (content: FormContent) => apiClient.post<Form>('/api/crud/forms', content);
export const changeForm = (id: string, content: FormContent) => apiClient.put<Form>(addressOf(id), content);
export const deleteForm = (id: string) => apiClient.delete(addressOf(id));
