/** A file up, with progress and a way to stop, and a file down. */

import { apiClient, resolveAddress } from '@empowernow/bff-auth-react';
import { Button, GlassCard } from '@empowernow/ui';
import { useRef, useState } from 'react';
import { ErrorNotice } from '../notices.js';
import { toBffError } from '../toBffError.js';

const SAMPLE_BYTES = 8 * 1024 * 1024;

export function FilesPage() {
  return (
    <>
      <h1 className="en-visually-hidden">Files</h1>
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
    <GlassCard className="fields" title="Upload">
      <label>
        File
        <input type="file" onChange={(event) => setFile(event.target.files?.[0] ?? null)} />
      </label>
      <div className="en-actions">
        <Button disabled={!file || percent !== null} onClick={() => file && void send(file)}>
          Upload
        </Button>
        {percent !== null && (
          <Button variant="secondary" onClick={() => stop.current.abort()}>
            Stop
          </Button>
        )}
      </div>
      {percent !== null && <progress aria-label="Upload" max={100} value={percent} />}
      {result && (
        <p role="status">
          {result.bytes} bytes arrived. <span className="en-fact">SHA-256 {result.sha256}</span>
        </p>
      )}
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
    </GlassCard>
  );
}

function Download() {
  const [failure, setFailure] = useState<unknown>(null);
  return (
    <GlassCard title="Download">
      <p>A large file comes by a link, and the browser writes it to the disk as it arrives.</p>
      <div className="en-actions">
        <a className="en-button en-button--primary" href={resolveAddress(`/api/crud/files/${SAMPLE_BYTES}`)} download>
          Download 8 MiB
        </a>
        <Button variant="secondary" onClick={() => void apiClient.download('/api/crud/files/1000').catch(setFailure)}>
          Download 1 kB by script
        </Button>
      </div>
      {failure !== null && <ErrorNotice error={toBffError(failure)} />}
    </GlassCard>
  );
}
