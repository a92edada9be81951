// The demo's page. It knows who is logged in from /api/auth/session, sends X-CSRF-Token with every unsafe call, and
// never sees a token. Everything it shows goes in as text, never as HTML.

const find = (id) => document.getElementById(id);
let csrfToken = '';
let feed = null;
let edited = null;

class CallError extends Error {
  constructor(answer, problem) {
    super(problem.detail || problem.title || answer.statusText);
    this.status = answer.status;
    this.code = answer.headers.get('X-BFF-Error');
    this.requestId = answer.headers.get('X-Correlation-ID') || problem.request_id;
    this.loginUrl = problem.login_url;
  }
}

/**
 * Does the work and, when the BFF did not take the CSRF token, once more with a new one: a login in another tab made a
 * new session, so this page's token is of the old one. A call refused like this never reached a backend.
 */
async function withFreshToken(work) {
  try {
    return await work();
  } catch (error) {
    if (error.code !== 'csrf_failed') throw error;
    await renewToken();
    return work();
  }
}

async function renewToken() {
  const answer = await fetch('/api/auth/session', { headers: { Accept: 'application/json' } });
  const body = await answer.json();
  if (!answer.ok) throw new CallError(answer, body);
  showSession(body);
}

/** One call through the BFF; throws CallError when it is refused. */
const call = (method, path, body) => withFreshToken(() => callOnce(method, path, body));

async function callOnce(method, path, body) {
  const headers = { Accept: 'application/json' };
  if (method !== 'GET') headers['X-CSRF-Token'] = csrfToken;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  let parsed = {};
  try { parsed = text ? JSON.parse(text) : {}; } catch { /* not JSON: the status tells enough */ }
  if (!answer.ok) throw new CallError(answer, parsed);
  return parsed;
}

function showError(error) {
  const box = find('error');
  box.replaceChildren();
  box.hidden = !error;
  if (!error) return;
  box.append(error.message);
  const facts = [error.status, error.code && `X-BFF-Error: ${error.code}`, error.requestId && `request ${error.requestId}`];
  for (const fact of facts.filter(Boolean)) {
    const code = document.createElement('code');
    code.textContent = fact;
    box.append(' · ', code);
  }
  if (error.status === 401) showSession(null);
}

/** Runs what a click asked for and shows what went wrong. */
const onClick = (id, work) => find(id).addEventListener('click', async () => {
  try { showError(null); await work(); } catch (error) { showError(error); }
});

// --- who is logged in ---

function showSession(session) {
  csrfToken = session ? session.csrf_token : '';
  find('user').textContent = session ? session.user.name || session.user.id : 'not logged in';
  find('user').title = session ? [session.user.email, ...(session.user.roles || [])].filter(Boolean).join(' · ') : '';
  find('user').dataset.state = session ? 'in' : 'out';
  find('login').hidden = Boolean(session);
  find('logout').hidden = !session;
  find('signed-in').hidden = !session;
  find('signed-out').hidden = Boolean(session);
  find('expiry').textContent = session
    ? `This session ends after ${tellTime(session.expires_in)} without activity, in any case in ${tellTime(session.absolute_expires_in)}.`
    : '';
  if (!session) closeFeed();
}

/** Seconds for people: hours from two hours on, else minutes. */
function tellTime(seconds) {
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 360) / 10} hours`;
}

async function loadSession() {
  const answer = await fetch('/api/auth/session', { headers: { Accept: 'application/json' } });
  if (answer.status === 401) { showSession(null); return; }
  const body = await answer.json();
  if (!answer.ok) throw new CallError(answer, body);
  showSession(body);
  await loadForms();
  openFeed();
}

onClick('login', () => window.location.assign(`/auth/login?return_to=${encodeURIComponent(window.location.pathname)}`));

onClick('logout', async () => {
  closeFeed();
  const { logout_url: logoutUrl } = await call('POST', '/auth/logout?return_to=/');
  window.location.assign(logoutUrl || '/');
});

onClick('try-anyway', () => call('GET', '/api/crud/forms'));

// --- forms ---

function button(label, name, work) {
  const element = document.createElement('button');
  element.type = 'button';
  element.className = 'small';
  element.textContent = label;
  element.setAttribute('aria-label', name);
  element.addEventListener('click', async () => {
    try { showError(null); await work(); } catch (error) { showError(error); }
  });
  return element;
}

function span(text, className) {
  const element = document.createElement('span');
  element.textContent = text;
  element.className = className;
  return element;
}

const MOST_QUESTIONS = 200; // that the BFF takes at once

/**
 * Asks what the user may do: create a form, and edit or delete each of these. Returns a function that tells whether an
 * action was allowed. Only a hint for what to show: the BFF decides each call again. No answer is no permission.
 */
async function loadPermissions(forms) {
  const questions = [
    { action: { name: 'create' }, resource: { type: 'form' } },
    ...forms.flatMap(({ id }) => ['update', 'delete'].map((name) => ({ action: { name }, resource: { type: 'form', id } }))),
  ];
  const allowed = new Set();
  for (let from = 0; from < questions.length; from += MOST_QUESTIONS) {
    const asked = questions.slice(from, from + MOST_QUESTIONS);
    try {
      const { evaluations } = await call('POST', '/access/v1/evaluations', { evaluations: asked });
      asked.forEach(({ action, resource }, index) => {
        if (evaluations[index].decision) allowed.add(`${action.name} ${resource.id ?? ''}`);
      });
    } catch (error) {
      if (error.code !== 'pdp_unavailable') throw error;
    }
  }
  return (action, id = '') => allowed.has(`${action} ${id}`);
}

async function loadForms() {
  const { forms } = await call('GET', '/api/crud/forms');
  const may = await loadPermissions(forms);
  find('form-editor').hidden = !may('create') && !edited;
  find('only-reads').hidden = may('create');
  find('no-forms').hidden = forms.length > 0;
  find('forms').replaceChildren(...forms.map((form) => {
    const row = document.createElement('li');
    row.dataset.id = form.id;
    row.append(
      span(form.title, 'grow'), span(form.kind, 'tag'), span(form.owner || 'nobody', 'quiet'),
      ...(may('update', form.id) ? [button('Edit', `Edit ${form.title}`, () => edit(form))] : []),
      ...(may('delete', form.id) ? [button('Delete', `Delete ${form.title}`, () => remove(form))] : []),
    );
    return row;
  }));
}

async function remove(form) {
  await call('DELETE', `/api/crud/forms/${form.id}`);
  await loadForms();
}

function edit(form) {
  edited = form;
  if (form) find('form-editor').hidden = false;
  find('form-title').value = form ? form.title : '';
  find('form-kind').value = form ? form.kind : 'note';
  find('form-save').textContent = form ? 'Save' : 'Create';
  find('form-cancel').hidden = !form;
  find('form-title').focus();
}

onClick('form-cancel', () => edit(null));

find('form-editor').addEventListener('submit', async (event) => {
  event.preventDefault();
  const body = { title: find('form-title').value, kind: find('form-kind').value };
  try {
    showError(null);
    if (edited) await call('PUT', `/api/crud/forms/${edited.id}`, body);
    else await call('POST', '/api/crud/forms', body);
    edit(null);
    await loadForms();
  } catch (error) { showError(error); }
});

// --- live feed: what others change comes in here and reloads the list ---

function openFeed() {
  closeFeed();
  feed = new EventSource('/api/crud/events');
  const show = (state) => { find('feed-state').textContent = state; find('feed-state').dataset.state = state; };
  feed.onopen = () => show('open');
  feed.onerror = () => show('reconnecting');
  feed.onmessage = async (message) => {
    const event = JSON.parse(message.data);
    const row = document.createElement('li');
    const delay = Math.max(0, Math.round(Date.now() - event.sent_at * 1000));
    row.append(span(event.event, 'tag'), span(event.form ? event.form.title : event.text || event.id || '', 'grow'), span(`${delay} ms`, 'quiet'));
    find('feed').prepend(row);
    while (find('feed').children.length > 30) find('feed').lastChild.remove();
    if (event.event.startsWith('form.')) { try { await loadForms(); } catch (error) { showError(error); } }
  };
}

function closeFeed() {
  if (feed) feed.close();
  feed = null;
  find('feed-state').textContent = 'closed';
  find('feed-state').dataset.state = 'closed';
}

// --- files: XMLHttpRequest, because fetch does not tell how far an upload has come ---

function sendFile(file) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', '/api/crud/files');
    xhr.setRequestHeader('X-CSRF-Token', csrfToken);
    xhr.setRequestHeader('Content-Type', 'application/octet-stream');
    xhr.upload.onprogress = (event) => { find('progress').value = event.total ? (100 * event.loaded) / event.total : 0; };
    xhr.onerror = () => reject(new Error('The upload was cut off.'));
    xhr.onload = () => {
      const headers = { get: (name) => xhr.getResponseHeader(name) };
      let body = {};
      try { body = JSON.parse(xhr.responseText); } catch { /* not JSON */ }
      if (xhr.status < 300) resolve(body);
      else reject(new CallError({ status: xhr.status, statusText: xhr.statusText, headers }, body));
    };
    xhr.send(file);
  });
}

onClick('upload', async () => {
  const [file] = find('file').files;
  if (!file) throw new Error('Choose a file first.');
  find('progress').value = 0;
  find('progress').hidden = false;
  find('upload-result').textContent = '';
  const result = await withFreshToken(() => sendFile(file));
  find('progress').value = 100;
  find('upload-result').textContent = `The backend got ${result.bytes} bytes, SHA-256 ${result.sha256.slice(0, 16)}…`;
});

// --- what the backend sees ---

async function showWhoami(path) {
  find('whoami').textContent = JSON.stringify(await call('GET', path), null, 2);
}
onClick('whoami-service', () => showWhoami('/api/crud/whoami'));
onClick('whoami-user', () => showWhoami('/api/profile/whoami'));

try { await loadSession(); } catch (error) { showError(error); }
