from django.db import migrations

# Which policy a session began under is told by its name. Weights of its own are those that its snapshot has and the
# policy had not; of what began under an older version of the policy only the candidate's own are known.
SOURCES = """
UPDATE exam_sessions_examsession s SET policy_source_id = p.id
FROM exam_sessions_policy p WHERE p.organisation_id = s.organisation_id AND p.name = s.policy_name;

UPDATE exam_sessions_examsession s SET own_weights = own.weights
FROM (
    SELECT s.id, jsonb_object_agg(rule.key, rule.value->'severity') AS weights
    FROM exam_sessions_examsession s
    JOIN exam_sessions_policy p ON p.id = s.policy_source_id AND s.policy_version = p.version::text
    CROSS JOIN LATERAL jsonb_each(s.policy->'rules') rule
    WHERE rule.value->'severity' <> p.document #> ARRAY['rules', rule.key, 'severity']
    GROUP BY s.id
) own
WHERE own.id = s.id;

UPDATE exam_sessions_examsession s SET own_weights = own.weights
FROM (
    SELECT s.id, jsonb_object_agg(rule.key, rule.value->'severity') AS weights
    FROM exam_sessions_examsession s CROSS JOIN LATERAL jsonb_each(s.accommodations->'rules') rule
    WHERE s.own_weights = '{}' AND rule.value ? 'severity'
    GROUP BY s.id
) own
WHERE own.id = s.id;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('exam_sessions', '0006_policy_source'),
    ]

    operations = [
        migrations.RunSQL(SOURCES, migrations.RunSQL.noop),
    ]
