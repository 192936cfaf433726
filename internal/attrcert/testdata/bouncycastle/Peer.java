// The other end of interop_test.go, on BouncyCastle: shares no code with the package, and has its own idea of RFC 5755.
//
//	java -cp bcprov.jar:bcpkix.jar:bcutil.jar Peer.java issue|check DIRECTORY NOT-BEFORE NOT-AFTER
//
// Below DIRECTORY there is a directory for each kind of key, with owner.pem, provider.pem and, for "issue", owner.key. "issue"
// writes attribute certificates of each form there; "check" verifies those that are there and says what it has read. Times are seconds
// since 1970.

import java.io.FileReader;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Security;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

import org.bouncycastle.asn1.*;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x509.*;
import org.bouncycastle.cert.*;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.ContentVerifierProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

public class Peer {
    static final ASN1ObjectIdentifier DELEGATION = new ASN1ObjectIdentifier("1.3.6.1.4.1.32473.1.1");
    static final ASN1ObjectIdentifier UUID = new ASN1ObjectIdentifier("2.25.329800735698586629295641978511506172918");
    static final String CRL = "http://crl.a1.example/ac.crl";
    static final String OCSP = "http://ocsp.a1.example/";

    final Path dir;
    final Date from, to;
    final X509CertificateHolder owner, provider;

    Peer(Path dir, Date from, Date to) throws Exception {
        this.dir = dir;
        this.from = from;
        this.to = to;
        owner = (X509CertificateHolder) pem("owner.pem");
        provider = (X509CertificateHolder) pem("provider.pem");
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        AttributeCertificateHolder.setDigestCalculatorProvider(new JcaDigestCalculatorProviderBuilder().setProvider("BC").build());
        Set<Path> dirs = new TreeSet<>();
        try (var entries = Files.newDirectoryStream(Path.of(args[1]))) {
            entries.forEach(dirs::add);
        }
        for (Path dir : dirs) {
            Peer peer = new Peer(dir, seconds(args[2]), seconds(args[3]));
            switch (args[0]) {
                case "issue" -> peer.issueAll();
                case "check" -> peer.checkAll();
                default -> throw new IllegalArgumentException(args[0]);
            }
        }
    }

    static Date seconds(String s) {
        return new Date(1000 * Long.parseLong(s));
    }

    Object pem(String name) throws Exception {
        try (PEMParser parser = new PEMParser(new FileReader(dir.resolve(name).toFile()))) {
            return parser.readObject();
        }
    }

    static byte[] sha256(byte[] message) throws Exception {
        return MessageDigest.getInstance("SHA-256").digest(message);
    }

    static void require(boolean condition, String what) {
        if (!condition) {
            throw new IllegalStateException(what);
        }
    }

    // ---- issue

    ContentSigner signer() throws Exception {
        PrivateKey key = new JcaPEMKeyConverter().setProvider("BC").getPrivateKey((PrivateKeyInfo) pem("owner.key"));
        String algorithm = switch (key.getAlgorithm()) {
            case "RSA" -> "SHA256withRSA";
            case "Ed25519" -> "Ed25519";
            default -> "SHA256withECDSA";
        };
        return new JcaContentSignerBuilder(algorithm).setProvider("BC").build(key);
    }

    static ASN1Encodable delegation(int rights, int unused, String... domains) {
        ASN1EncodableVector names = new ASN1EncodableVector();
        for (String domain : domains) {
            names.add(new GeneralName(GeneralName.dNSName, domain));
        }
        ASN1EncodableVector v = new ASN1EncodableVector();
        v.add(new ASN1Integer(0));
        v.add(new DERSequence(names));
        v.add(new DERBitString((byte) rights, unused));
        return new DERSequence(v);
    }

    AttributeCertificateHolder byDigest(int type, byte[] encoded) throws Exception {
        return new AttributeCertificateHolder(type, NISTObjectIdentifiers.id_sha256, null, sha256(encoded));
    }

    X509v2AttributeCertificateBuilder builder(AttributeCertificateHolder holder, long serial) throws Exception {
        X509v2AttributeCertificateBuilder b = new X509v2AttributeCertificateBuilder(
            holder, new AttributeCertificateIssuer(owner.getSubject()), BigInteger.valueOf(serial), from, to);
        // Not createAuthorityKeyIdentifier of the key, which takes a hash of its own instead of the owner's identifier.
        b.addExtension(Extension.authorityKeyIdentifier, false,
            new AuthorityKeyIdentifier(SubjectKeyIdentifier.fromExtensions(owner.getExtensions()).getKeyIdentifier()));
        return b;
    }

    void write(String name, X509v2AttributeCertificateBuilder b) throws Exception {
        Files.write(dir.resolve(name + ".der"), b.build(signer()).getEncoded());
    }

    void issueAll() throws Exception {
        AttributeCertificateHolder publicKey = byDigest(ObjectDigestInfo.publicKey, provider.getSubjectPublicKeyInfo().getEncoded());
        ASN1Encodable both = delegation(0xc0, 6, "a1.example");
        DERNull none = DERNull.INSTANCE;

        X509v2AttributeCertificateBuilder b = builder(publicKey, 1);
        b.addAttribute(DELEGATION, both);
        b.addExtension(Extension.noRevAvail, false, none);
        write("public-key", b);

        b = builder(byDigest(ObjectDigestInfo.publicKeyCert, provider.getEncoded()), 2);
        b.addAttribute(DELEGATION, both);
        b.addExtension(Extension.noRevAvail, false, none);
        write("certificate", b);

        b = builder(new AttributeCertificateHolder(provider), 3);
        b.addAttribute(DELEGATION, both);
        b.addExtension(Extension.noRevAvail, false, none);
        write("issuer-serial", b);

        b = builder(publicKey, 4);
        b.addAttribute(DELEGATION, both);
        DistributionPointName point = new DistributionPointName(new GeneralNames(new GeneralName(GeneralName.uniformResourceIdentifier, CRL)));
        b.addExtension(Extension.cRLDistributionPoints, false,
            new CRLDistPoint(new DistributionPoint[] {new DistributionPoint(point, null, null)}));
        write("crl", b);

        b = builder(publicKey, 5);
        b.addAttribute(DELEGATION, both);
        b.addExtension(Extension.authorityInfoAccess, false, new AuthorityInformationAccess(AccessDescription.id_ad_ocsp,
            new GeneralName(GeneralName.uniformResourceIdentifier, OCSP)));
        write("ocsp", b);

        b = builder(publicKey, 6);
        b.addAttribute(DELEGATION, both);
        Target[] targets = {
            new Target(Target.targetName, new GeneralName(GeneralName.dNSName, "provider-c.example")),
            new Target(Target.targetGroup, new GeneralName(GeneralName.dNSName, "group.example")),
            new Target(Target.targetName, new GeneralName(GeneralName.dNSName, "provider-b.example")),
        };
        b.addExtension(Extension.targetInformation, true, new TargetInformation(targets));
        b.addExtension(Extension.noRevAvail, false, none);
        write("targeted", b);

        // More than we would write: an attribute with a large arc, several values, an unknown extension, all of the key identifier.
        b = new X509v2AttributeCertificateBuilder(publicKey, new AttributeCertificateIssuer(owner.getSubject()),
            BigInteger.ONE.shiftLeft(158), from, to);
        b.addAttribute(UUID, new ASN1Encodable[] {new ASN1Integer(1), new DERUTF8String("unknown")});
        b.addAttribute(DELEGATION, new ASN1Encodable[] {delegation(0xa0, 5, "a1.example"), delegation(0x40, 6, "a1.example", "a2.example")});
        b.addExtension(Extension.authorityKeyIdentifier, false, new JcaX509ExtensionUtils().createAuthorityKeyIdentifier(owner));
        b.addExtension(UUID, false, new DERUTF8String("unknown"));
        b.addExtension(Extension.noRevAvail, false, none);
        write("more", b);

        // Lists: of everything, and of attribute certificates only.
        X509v2CRLBuilder list = new X509v2CRLBuilder(owner.getSubject(), from);
        list.setNextUpdate(to);
        list.addCRLEntry(BigInteger.valueOf(7), from, CRLReason.privilegeWithdrawn);
        Files.write(dir.resolve("plain.crl"), list.build(signer()).getEncoded());
        list.addExtension(Extension.cRLNumber, false, new CRLNumber(BigInteger.TWO));
        list.addExtension(Extension.authorityKeyIdentifier, false, new JcaX509ExtensionUtils().createAuthorityKeyIdentifier(owner));
        list.addExtension(Extension.issuingDistributionPoint, true, new IssuingDistributionPoint(point, false, false, null, false, true));
        list.addCRLEntry(BigInteger.valueOf(4), from, CRLReason.aACompromise);
        Files.write(dir.resolve("revoking.crl"), list.build(signer()).getEncoded());
    }

    // ---- check

    ContentVerifierProvider verifier() throws Exception {
        return new JcaContentVerifierProviderBuilder().setProvider("BC").build(owner);
    }

    void checkAll() throws Exception {
        Set<Path> files = new TreeSet<>();
        try (var entries = Files.newDirectoryStream(dir, "*.{der,crl}")) {
            entries.forEach(files::add);
        }
        for (Path file : files) {
            byte[] der = Files.readAllBytes(file);
            String name = dir.getFileName() + "/" + file.getFileName();
            try {
                System.out.println(name + ": " + (name.endsWith(".crl") ? checkList(der) : check(der)));
            } catch (Exception e) {
                throw new IllegalStateException(name, e);
            }
        }
    }

    String checkList(byte[] der) throws Exception {
        X509CRLHolder list = new X509CRLHolder(der);
        require(Arrays.equals(list.toASN1Structure().getEncoded(ASN1Encoding.DER), der), "not DER");
        require(list.isSignatureValid(verifier()), "signature");
        require(list.getIssuer().equals(owner.getSubject()), "issuer");
        require(!from.before(list.getThisUpdate()) && !to.after(list.getNextUpdate()), "times");
        Set<BigInteger> revoked = new TreeSet<>();
        for (Object entry : list.getRevokedCertificates()) {
            revoked.add(((X509CRLEntryHolder) entry).getSerialNumber());
        }
        return "revoked=" + revoked;
    }

    String check(byte[] der) throws Exception {
        X509AttributeCertificateHolder ac = new X509AttributeCertificateHolder(der);
        require(Arrays.equals(ac.toASN1Structure().getEncoded(ASN1Encoding.DER), der), "not DER");
        require(ac.getVersion() == 2, "version");
        require(ac.isSignatureValid(verifier()), "signature");
        require(ac.getNotBefore().equals(from) && ac.getNotAfter().equals(to), "validity");
        require(ac.isValidOn(from) && ac.isValidOn(to) && !ac.isValidOn(new Date(to.getTime() + 1000)), "validity");
        require(ac.getIssuer().match(owner) && !ac.getIssuer().match(provider), "issuer");
        require(ac.getIssuer().getNames().length == 1 && ac.getIssuer().getNames()[0].equals(owner.getSubject()), "issuer");
        require(Arrays.equals(AuthorityKeyIdentifier.fromExtensions(ac.getExtensions()).getKeyIdentifier(),
            SubjectKeyIdentifier.fromExtensions(owner.getExtensions()).getKeyIdentifier()), "authorityKeyIdentifier");
        StringBuilder said = new StringBuilder("serial=" + ac.getSerialNumber() + " holder=" + checkHolder(ac));
        for (Attribute attribute : ac.getAttributes()) {
            said.append(" attribute=").append(attribute.getAttrType());
            if (attribute.getAttrType().equals(DELEGATION)) {
                for (ASN1Encodable value : attribute.getAttributeValues()) {
                    said.append(describe(ASN1Sequence.getInstance(value)));
                }
            }
        }
        Extensions extensions = ac.getExtensions();
        if (extensions.getExtension(Extension.noRevAvail) != null) {
            require(extensions.getExtensionParsedValue(Extension.noRevAvail).equals(DERNull.INSTANCE), "noRevAvail");
            said.append(" noRevAvail");
        }
        if (extensions.getExtension(Extension.cRLDistributionPoints) != null) {
            DistributionPoint[] points = CRLDistPoint.fromExtensions(extensions).getDistributionPoints();
            require(points.length == 1, "cRLDistributionPoints");
            said.append(" crl=").append(GeneralNames.getInstance(points[0].getDistributionPoint().getName()).getNames()[0].getName());
        }
        if (extensions.getExtension(Extension.authorityInfoAccess) != null) {
            for (AccessDescription d : AuthorityInformationAccess.fromExtensions(extensions).getAccessDescriptions()) {
                require(d.getAccessMethod().equals(AccessDescription.id_ad_ocsp), "authorityInfoAccess");
                said.append(" ocsp=").append(d.getAccessLocation().getName());
            }
        }
        if (extensions.getExtension(Extension.targetInformation) != null) {
            require(extensions.getExtension(Extension.targetInformation).isCritical(), "targetInformation");
            Targets[] lists = TargetInformation.getInstance(extensions.getExtensionParsedValue(Extension.targetInformation)).getTargetsObjects();
            require(lists.length == 1, "targetInformation");
            for (Target target : lists[0].getTargets()) {
                said.append(" target=").append(target.getTargetName().getName());
            }
        }
        return said.toString();
    }

    static String describe(ASN1Sequence delegation) {
        require(delegation.size() == 3 && ASN1Integer.getInstance(delegation.getObjectAt(0)).hasValue(0), "delegation");
        List<String> domains = new ArrayList<>();
        for (ASN1Encodable name : ASN1Sequence.getInstance(delegation.getObjectAt(1))) {
            GeneralName general = GeneralName.getInstance(name);
            require(general.getTagNo() == GeneralName.dNSName, "domain");
            domains.add(general.getName().toString());
        }
        ASN1BitString rights = ASN1BitString.getInstance(delegation.getObjectAt(2));
        require(rights.getBytes().length == 1, "rights");
        return String.format("%s:%02x/%d", domains, rights.getBytes()[0], rights.getPadBits());
    }

    String checkHolder(X509AttributeCertificateHolder ac) throws Exception {
        AttributeCertificateHolder holder = ac.getHolder();
        // What BouncyCastle itself says of a holder by the key alone is always no, so the digests are compared here, too.
        switch (holder.getDigestedObjectType()) {
            case ObjectDigestInfo.publicKey:
                require(holder.getDigestAlgorithm().getAlgorithm().equals(NISTObjectIdentifiers.id_sha256), "digest algorithm");
                require(Arrays.equals(holder.getObjectDigest(), sha256(provider.getSubjectPublicKeyInfo().getEncoded())), "digest");
                return "publicKey";
            case ObjectDigestInfo.publicKeyCert:
                require(holder.getDigestAlgorithm().getAlgorithm().equals(NISTObjectIdentifiers.id_sha256), "digest algorithm");
                require(Arrays.equals(holder.getObjectDigest(), sha256(provider.getEncoded())), "digest");
                return "publicKeyCert";
            default:
                require(holder.match(provider) && !holder.match(owner), "holder");
                return "baseCertificateID";
        }
    }
}
