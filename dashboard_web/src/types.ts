// The document of /api/snapshot. What is not known is absent. Times are ISO 8601, money and prices are numbers.

export type Dict<T> = Record<string, T>;

export type StripState = "ready" | "approval" | "link_lost" | "down" | "restart" | "unknown";

export interface Snapshot {
  schema: number;
  revision: number;
  at: string;
  host: string;
  release: string;
  exchange_zone: string;
  notes: Dict<Note>;
  gateways: Dict<Gateway>;
  managers: Dict<Manager>;
  notifications: Dict<Outbox>;
  logs: Dict<{ label: string }>;
}

export interface Note {
  severity: "warning" | "error";
  text: string;
}

export interface Tier {
  ok?: boolean;
  text: string;
}

export interface Period {
  from: string;
  state: StripState;
}

export interface Gateway {
  name: string;
  mode: string;
  unit: string;
  timezone: string;
  image: string;
  controller?: string;
  state: StripState;
  text: string;
  since?: string;
  unit_state?: { active: string; sub: string; result?: string };
  login?: { state: string; needs_person: boolean; text: string };
  tiers: Dict<Tier>;
  link?: { state: "connected" | "lost" | "unknown"; since?: string; text: string };
  session?: { since?: string; twofa?: boolean; last_restart?: string; last_cause?: string; end?: string };
  next_restart?: { at: string; kind: string };
  next_approval?: string;
  automatic_codes?: boolean;
  support?: { version: string; desupported_on: string; days_left: number; over: boolean; text: string; remedy: string };
  breaker?: {
    open: boolean;
    refusals: Dict<number>;
    limit: number;
    cause?: string;
    text?: string;
    remedy?: string;
    since?: string;
  };
  history: Period[];
  screen?: boolean;
}

export interface Mark {
  rule: string;
  kind: "stop" | "trailing" | "breakeven" | "target" | "other";
  level: number;
  distance?: number;
  percent?: number;
}

export interface Bar {
  subject: string;
  now?: number;
  entry?: number;
  marks: Dict<Mark>;
}

export interface Leg {
  label: string;
  quantity: number;
  bid?: number;
  ask?: number;
  quoted_at?: string;
}

export interface Position {
  key: string;
  name: string;
  account: string;
  group?: string;
  quantity: number;
  entry: number;
  price?: number;
  profit?: number;
  currency: string;
  verdict: string;
  text: string;
  legs: Dict<Leg>;
  market_open?: boolean;
  unprotected: { seconds: number; since?: string };
  rules: Dict<{ text: string; origin: string }>;
  bars: Dict<Bar>;
}

export interface Rung {
  at: string;
  limit: number;
  state: string;
  filled: number;
}

export interface Intent {
  id: string;
  account: string;
  con_id: number;
  label: string;
  side: string;
  quantity: number;
  filled: number;
  limit?: number;
  state: string;
  rule: string;
  reason: string;
  created?: string;
  ladder?: Rung[];
}

export interface Order {
  id: string;
  account: string;
  con_id: number;
  label: string;
  side: string;
  quantity: number;
  filled: number;
  limit?: number;
  stop?: number;
  average?: number;
  state: string;
  rule: string;
  reason: string;
  created: string;
  done: boolean;
}

export interface Manager {
  name: string;
  mode: string;
  unit: string;
  gateway?: string;
  running: boolean;
  version?: string;
  accounts: string[];
  new_accounts: string[];
  phase: string;
  since?: string;
  why?: string;
  halts: string[];
  degraded: string[];
  last_sync?: string;
  orders_today?: number;
  config?: string;
  age?: string;
  profit: { revision: number; realized: Dict<number>; open: Dict<number> };
  positions: Dict<Position>;
  intents: Dict<Intent>;
  orders: Dict<Order>;
  locks: Dict<{ account: string; label: string; reason: string; since?: string }>;
  account_stops: Dict<{
    net_liquidation?: number;
    currency: string;
    rules: Dict<{ verdict: string; text: string; action: string }>;
  }>;
  cooldowns: Dict<{ account: string; symbol: string; rule: string; label: string; action: string; ends: string }>;
  exposures: Dict<{ account?: string; label?: string; quantity?: number; warnings?: string[]; dividend?: string }>;
}

export interface Message {
  at: string;
  severity: string;
  title: string;
  lines: string[];
  states: Dict<string>;
  detail?: string;
}

export interface Outbox {
  source: string;
  pending: number;
  failed: number;
  items: Dict<Message>;
}

/** The answer of /api/profit. */
export interface Profit {
  manager: string;
  zone: string;
  day: { date?: string; currencies: Dict<[number, number][]> };
  days: Dict<[string, number, number][]>;
}

export interface LogLine {
  at: string;
  priority: number;
  text: string;
}
