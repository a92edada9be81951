/** A file up, with progress and a way to stop, and a file down. */

import { apiClient, resolveAddress } from '@empowernow/bff-auth-react';
import { Button } from '@empowernow/ui';
import { useRef, useState } from 'react';
import { ErrorNotice } from '../notices.js';
import { toBffError } from '../toBffError.js';

const SAMPLE_BYTES = 8 * 1024 * 1024;

export function FilesPage() {
  return (
    <>
      <h1>Files</h1>
      <Upload />
      <Download />
    </>
  );
}

function Upload() {
  const [file, setFile] = useState<File | null>(null);
  const [percent, setPercent] = useState<number | null>(null);
  const [result, setResult] = useState<{ bytes: number; sha256: string } | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const stop = useRef(new AbortController());
  const send = async (chosen: File) => {
    stop.current = new AbortController();
    setPercent(0);
    setResult(null);
    setFailure(null);
    try {
      const answer = await apiClient.upload<{ bytes: number; sha256: string }>('/api/crud/files', chosen, {
        signal: stop.current.signal,
        onProgress: ({ loaded, total }) => setPercent(total ? Math.round((loaded / total) * 100) : 0),
      });
      setResult(answer);
    } catch (error) {
      setFailure(error);
    }
    setPercent(null);
  };
  return (
    <section className="card fields" aria-labelledby="upload">
      <h2 id="upload">Upload</h2>
      <label>
        File
        <input type="file" onChange={(event) => setFile(event.target.files?.[0] ?? null)} />
      </label>
      <p className="actions">
        <Button disabled={!file || percent !== null} onClick={() => file && void send(file)}>
          Upload
        </Button>
        {percent !== null && (
          <Button className="quiet" onClick={() => stop.current.abort()}>
            Stop
          </Button>
        )}
      </p>
      {percent !== null && <progress aria-label="Upload" max={100} value={percent} />}
      {result && (
        <p role="status">
          {result.bytes} bytes arrived. <span className="small">SHA-256 {result.sha256}</span>
        </p>
      )}
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
    </section>
  );
}

function Download() {
  const [failure, setFailure] = useState<unknown>(null);
  return (
    <section className="card" aria-labelledby="download">
      <h2 id="download">Download</h2>
      <p>A large file comes by a link, and the browser writes it to the disk as it arrives.</p>
      <p className="actions">
        <a href={resolveAddress(`/api/crud/files/${SAMPLE_BYTES}`)} download>
          Download 8 MiB
        </a>
        <Button className="quiet" onClick={() => void apiClient.download('/api/crud/files/1000').catch(setFailure)}>
          Download 1 kB by script
        </Button>
      </p>
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
    </section>
  );
}
