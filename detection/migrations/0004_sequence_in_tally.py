from django.db import migrations

# The alerts' numbers are handed out by alerts.SessionTally from here on.
COUNTED = """
INSERT INTO alerts_sessiontally AS t (session_id, organisation_id, alert_sequence, risk_score)
SELECT session_id, organisation_id, alert_sequence, 0 FROM detection_rulestate WHERE alert_sequence > 0
ON CONFLICT (session_id) DO UPDATE SET alert_sequence = GREATEST(t.alert_sequence, EXCLUDED.alert_sequence);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('alerts', '0007_incident_facts'),
        ('detection', '0003_browser_stream'),
    ]

    operations = [
        migrations.RunSQL(COUNTED, migrations.RunSQL.noop),
        migrations.RemoveField(
            model_name='rulestate',
            name='alert_sequence',
        ),
    ]
