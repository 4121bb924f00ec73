from django.db import migrations

# The trigger for rows is not asked by TRUNCATE, which removes all of them at once.
REFUSE_TRUNCATE = """
CREATE FUNCTION accounts_auditentry_refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('sd_proctor.audit_retention', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER accounts_auditentry_refuse_truncate BEFORE TRUNCATE ON accounts_auditentry
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_auditentry_refuse_truncate();
"""
ALLOW_TRUNCATE = """
DROP TRIGGER accounts_auditentry_refuse_truncate ON accounts_auditentry;
DROP FUNCTION accounts_auditentry_refuse_truncate();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_audit_head_seal'),
    ]

    operations = [
        migrations.RunSQL(REFUSE_TRUNCATE, ALLOW_TRUNCATE),
    ]
