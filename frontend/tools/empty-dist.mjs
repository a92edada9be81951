// Takes away what an earlier build left in the package it is called for, so that no file of old is packed.
import { rmSync } from 'node:fs';

rmSync('dist', { recursive: true, force: true });
