PRAGMA busy_timeout = 5000;
CREATE TABLE users (username text);
----
PRAGMA busy_timeout = 5000;
SELECT name FROM pragma_table_info('users');
----
PRAGMA busy_timeout = 5000;
CREATE TEMP TABLE wanted (username text PRIMARY KEY);
INSERT INTO wanted(username) VALUES
('u0000000'),
('u0000001');
SELECT DISTINCT username FROM users JOIN wanted USING (username) LIMIT 5;
SELECT DISTINCT username FROM rosterusers JOIN wanted USING (username) LIMIT 5;
----
PRAGMA busy_timeout = 5000;
BEGIN IMMEDIATE;
INSERT INTO users(username,password,serverkey,salt,iterationcount) VALUES
('u0000000','it''s','','','0'),
('u0000001','it''s','','','0');
INSERT INTO rosterusers(username,jid,nick,subscription,ask,askmessage,server,subscribe,type) VALUES
('u0000000','u0000001@a-1.test','Анна Ђорђевић','B','N','','N','','item'),
('u0000000','u0000002@a-1.test','Lena Kovac','B','N','','N','','item'),
('u0000000','u0000003@a-1.test','Mười Bērziņš','B','N','','N','','item'),
('u0000000','u0000004@a-1.test','Kim Dietrich','B','N','','N','','item'),
('u0000000','u0000005@a-1.test','Anna Fischer','T','N','','N','','item'),
('u0000000','u0000006@a-1.test','Mười Ásgeirsdóttir','B','N','','N','','item'),
('u0000000','u0000007@a-1.test','刘明轩','B','N','','N','','item'),
('u0000000','u0000008@a-1.test','Ben Evans','B','N','','N','','item'),
('u0000000','u0000009@a-1.test','يوسف المصري','B','N','','N','','item'),
('u0000000','u0000010@a-1.test','陳伟','B','N','','N','','item'),
('u0000000','u0000011@a-1.test','Kim Abel','B','N','','N','','item'),
('u0000000','u0000012@a-1.test','Ben Evans','B','N','','N','','item'),
('u0000001','u0000000@a-1.test','Lena Kovac','B','N','','N','','item'),
('u0000001','u0000002@a-1.test','Lena Kovac','N','N','','N','','item'),
('u0000001','u0000003@a-1.test','Mười Bērziņš','B','N','','N','','item'),
('u0000001','u0000004@a-1.test','Kim Dietrich','B','N','','N','','item'),
('u0000001','u0000005@a-1.test','Anna Fischer','B','N','','N','','item'),
('u0000001','u0000006@a-1.test','Mười Ásgeirsdóttir','B','N','','N','','item'),
('u0000001','u0000007@a-1.test','刘明轩','B','N','','N','','item'),
('u0000001','u0000008@a-1.test','Ben Evans','B','N','','N','','item'),
('u0000001','u0000009@a-1.test','يوسف المصري','B','N','','N','','item'),
('u0000001','u0000010@a-1.test','陳伟','T','N','','N','','item'),
('u0000001','u0000011@a-1.test','Kim Abel','B','N','','N','','item'),
('u0000001','u0000012@a-1.test','Ben Evans','B','N','','N','','item');
INSERT INTO rostergroups(username,jid,grp) VALUES
('u0000000','u0000001@a-1.test','同事'),
('u0000000','u0000001@a-1.test','Café ☕'),
('u0000000','u0000003@a-1.test','חברים'),
('u0000000','u0000004@a-1.test','Friends'),
('u0000000','u0000005@a-1.test','Tom''s <team>'),
('u0000000','u0000009@a-1.test','École'),
('u0000000','u0000009@a-1.test','R&D'),
('u0000000','u0000011@a-1.test','Друзья'),
('u0000000','u0000011@a-1.test','Work'),
('u0000000','u0000012@a-1.test','R&D'),
('u0000000','u0000012@a-1.test','Tom''s <team>'),
('u0000001','u0000000@a-1.test','Sport'),
('u0000001','u0000000@a-1.test','École'),
('u0000001','u0000002@a-1.test','Друзья'),
('u0000001','u0000003@a-1.test','Family'),
('u0000001','u0000004@a-1.test','Friends'),
('u0000001','u0000006@a-1.test','عائلة'),
('u0000001','u0000007@a-1.test','عائلة'),
('u0000001','u0000007@a-1.test','परिवार'),
('u0000001','u0000009@a-1.test','Work'),
('u0000001','u0000010@a-1.test','R&D'),
('u0000001','u0000012@a-1.test','Друзья');
COMMIT;
----
PRAGMA busy_timeout = 5000;
SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' AND c.name = 'username';
----
PRAGMA busy_timeout = 5000;
BEGIN IMMEDIATE;
CREATE TEMP TABLE unwanted (username text PRIMARY KEY);
INSERT INTO unwanted(username) VALUES
('u0000000'),
('u0000001');
DELETE FROM "users" WHERE username IN (SELECT username FROM unwanted);
DELETE FROM "rosterusers" WHERE username IN (SELECT username FROM unwanted);
DELETE FROM "rostergroups" WHERE username IN (SELECT username FROM unwanted);
DELETE FROM "last" WHERE username IN (SELECT username FROM unwanted);
COMMIT;
----
