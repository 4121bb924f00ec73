from django.db import migrations

# What is known of incidents that are stored already: excess from the severity, frames and value from their alerts,
# points as alerts.risk makes them, by the weight of then.
FACTS = r"""
UPDATE alerts_incident SET version = CASE state WHEN 'open' THEN 1 ELSE 2 END,
    excess = COALESCE(GREATEST(0, LEAST(1, 2 * severity / NULLIF((rule->>'severity')::float8, 0) - 1)), 1),
    points = CASE WHEN technical THEN 0 ELSE round((severity * 0.5 * (0.5 + 0.5 * GREATEST(0, LEAST(1,
        COALESCE(EXTRACT(EPOCH FROM ended_at - started_at), 0) / 60))))::numeric, 4) END;

UPDATE alerts_incident i SET value = told.value,
    frame_ids = ARRAY(SELECT jsonb_array_elements_text(told.payload #> '{evidence,frame_ids}'))
FROM (
    SELECT DISTINCT ON (incident_id) incident_id, payload, (
        SELECT number::text::float8 FROM jsonb_each(payload #> '{evidence,confidence_metrics}') metric(name, number)
        WHERE name NOT LIKE '%\_peak') AS value
    FROM alerts_alert ORDER BY incident_id, sequence DESC
) told
WHERE told.incident_id = i.id;

INSERT INTO alerts_sessiontally (session_id, organisation_id, alert_sequence, risk_score)
SELECT session_id, organisation_id, MAX(sequence), 0 FROM alerts_alert GROUP BY 1, 2;

UPDATE alerts_sessiontally t SET risk_score = round((100 * summed.points / (1 + summed.points))::numeric, 1)
FROM (SELECT session_id, SUM(points) AS points FROM alerts_incident GROUP BY 1) summed
WHERE summed.session_id = t.session_id;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('alerts', '0006_incident_review'),
    ]

    operations = [
        migrations.RunSQL(FACTS, migrations.RunSQL.noop),
    ]
