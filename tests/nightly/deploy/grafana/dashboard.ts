// What a dashboard of deploy/ is: the types of @grafana/schema, and of its panels those that the
// plugins declare. A dashboard is put behind `satisfies Whole`, so that a field that no type has is
// refused, too.
import type * as schema from '@grafana/schema';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// JSON has texts where the types have enumerations.
type Json<T> = T extends string
  ? `${T}`
  : T extends Array<infer Item>
    ? Json<Item>[]
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T;

type Source = { type: 'prometheus'; uid: string };

// Prometheus declares its query in a package of its own, whose fields these are.
interface Query extends Omit<schema.DataQuery, 'datasource'> {
  datasource: Source;
  expr: string;
  legendFormat: string;
}

type Defaults = Omit<schema.FieldConfig, 'custom'> & { custom: Partial<timeseries.FieldConfig> };

interface TimeSeries
  extends Omit<schema.Panel, 'type' | 'datasource' | 'options' | 'fieldConfig' | 'targets'> {
  type: 'timeseries';
  datasource: Source;
  options: timeseries.Options;
  fieldConfig: Omit<schema.FieldConfigSource, 'defaults'> & { defaults: Defaults };
  targets: Query[];
}

export type Whole = Json<Omit<schema.Dashboard, 'panels'> & { panels: TimeSeries[] }>;
