/** Rows and columns, sorted by a press on a heading. */

import { useId, useState, type ReactNode } from 'react';
import { Spinner } from './Spinner.js';

export interface Column<Row> {
  key: string;
  header: string;
  render: (row: Row) => ReactNode;
  /** What to sort by; without it the column cannot be sorted. */
  sortBy?: (row: Row) => string | number;
  align?: 'start' | 'end';
  /** The column whose cells name their rows. */
  isRowHeader?: boolean;
}

export interface DataTableProps<Row> {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  getKey: (row: Row) => string | number;
  isLoading?: boolean;
  /** Said when there are no rows. */
  empty?: ReactNode;
}

interface Sorting {
  key: string;
  isDescending: boolean;
}

export function DataTable<Row>({
  caption,
  columns,
  rows,
  getKey,
  isLoading = false,
  empty = 'There is nothing here yet.',
}: DataTableProps<Row>): ReactNode {
  const [sorting, setSorting] = useState<Sorting | null>(null);
  const captionId = useId();
  const sortBy = columns.find((column) => column.key === sorting?.key)?.sortBy;
  const shown = sorting && sortBy ? sortRows(rows, sortBy, sorting.isDescending) : rows;
  return (
    // It scrolls sideways on narrow screens, so the keyboard must be able to reach it.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div className="en-table" role="region" aria-labelledby={captionId} tabIndex={0} aria-busy={isLoading}>
      <table>
        <caption id={captionId}>{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.key} scope="col" data-align={column.align} aria-sort={tellSort(column.key, sorting)}>
                {column.sortBy ? (
                  <button type="button" className="en-table__sort" onClick={() => setSorting(turn(column.key, sorting))}>
                    {column.header}
                    <span aria-hidden="true" className="en-table__arrow" />
                  </button>
                ) : (
                  column.header
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={getKey(row)}>
              {columns.map(({ key, render, align, isRowHeader }) =>
                isRowHeader ? (
                  <th key={key} scope="row" data-align={align}>
                    {render(row)}
                  </th>
                ) : (
                  <td key={key} data-align={align}>
                    {render(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
          {shown.length === 0 && (
            <tr>
              <td className="en-table__empty" colSpan={columns.length}>
                {isLoading ? <Spinner label={`Loading: ${caption}`} /> : empty}
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}

const turn = (key: string, before: Sorting | null): Sorting => ({
  key,
  isDescending: before?.key === key && !before.isDescending,
});

function tellSort(key: string, sorting: Sorting | null): 'ascending' | 'descending' | undefined {
  if (sorting?.key !== key) return undefined;
  return sorting.isDescending ? 'descending' : 'ascending';
}

/** Numbers by size, all else as people sort: accents and case aside, `2` before `10`. */
function sortRows<Row>(rows: readonly Row[], sortBy: (row: Row) => string | number, isDescending: boolean): Row[] {
  const sign = isDescending ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [sortBy(one), sortBy(other)];
    if (typeof a === 'number' && typeof b === 'number') return sign * (a - b);
    return sign * String(a).localeCompare(String(b), undefined, { numeric: true, sensitivity: 'base' });
  });
}
