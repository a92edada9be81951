import { afterEach, describe, expect, it } from 'vitest';
import { resolveAddress, setBaseUrl } from '../../src/core/index.js';
import { BffError } from '../../src/core/errors.js';

afterEach(() => setBaseUrl(undefined));

const SAME = 'https://app.example.com';
const DEV = 'http://localhost:8000';

describe.each([
  [undefined, SAME],
  ['', SAME],
  ['/api', SAME],
  ['/api/', SAME],
  ['/api/api', SAME],
  [DEV, DEV],
  [`${DEV}/`, DEV],
  [`${DEV}/api`, DEV],
  [`${DEV}/api/`, DEV],
  ['https://example.com/bff/api', 'https://example.com/bff'],
])('with the base URL %j', (baseUrl, root) => {
  it.each([
    ['/crud/forms', '/api/crud/forms'],
    ['crud/forms', '/api/crud/forms'],
    ['/api/crud/forms', '/api/crud/forms'],
    ['/api/api/crud/forms', '/api/crud/forms'],
    ['/apis/1', '/api/apis/1'],
    ['/api?x=/api/api', '/api?x=/api/api'],
    ['/forms?next=/auth/login', '/api/forms?next=/auth/login'],
    ['/access/v1/evaluations', '/access/v1/evaluations'],
    ['/auth/logout', '/auth/logout'],
    ['/authors', '/api/authors'],
  ])('%s is %s', (path, expected) => {
    setBaseUrl(baseUrl);
    expect(resolveAddress(path)).toBe(root + expected);
    if (/^\/api\b/.test(path)) expect(resolveAddress(root + path)).toBe(root + expected);
  });
});

it.each(['javascript:alert(1)', 'http://', 'ftp://example.com'])('the base URL %j is refused and the one before stays', (baseUrl) => {
  setBaseUrl(DEV);
  expect(() => setBaseUrl(baseUrl)).toThrow(BffError);
  expect(resolveAddress('/x')).toBe(`${DEV}/api/x`);
});
