-- What an older installation may have left: the memory plugin's tables in public, with rows.
CREATE TABLE public.memory_namespaces (name text PRIMARY KEY, kind text NOT NULL);
CREATE TABLE public.memory_records (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  namespace text NOT NULL REFERENCES public.memory_namespaces (name), content text NOT NULL, kind text NOT NULL,
  source text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
INSERT INTO public.memory_namespaces VALUES ('team:old', 'team');
INSERT INTO public.memory_records (namespace, content, kind, source)
  SELECT 'team:old', 'memory ' || n, 'fact', 'agent' FROM generate_series(1, 7) AS n;
